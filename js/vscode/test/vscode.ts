/** Stands for the module that only VS Code has: what is tested here asks only for this of it. */
export const l10n = {
  /** As VS Code does where there is no translation. */
  t: (message: string, ...values: readonly (string | number | boolean)[]) =>
    message.replace(/\{(\d+)\}/g, (_, at) => String(values[Number(at)])),
};

export class CancellationTokenSource {
  readonly token = { isCancellationRequested: false };
  dispose(): void {}
}
