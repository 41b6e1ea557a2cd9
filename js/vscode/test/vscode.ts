/** Stands for the module that only VS Code has: what is tested here asks nothing of it. */
export {};
