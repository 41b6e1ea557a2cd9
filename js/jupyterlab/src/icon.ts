import { LabIcon } from "@jupyterlab/ui-components";

/** Three tokens and the lines between them, in the colours that JupyterLab gives its icons. */
export const icon = new LabIcon({
  name: "lmkit:icon",
  svgstr: `<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 24 24">
  <g class="jp-icon3" fill="none" stroke="#616161" stroke-width="1.8" stroke-linecap="round">
    <path d="M5 16C5 6 12 6 12 16"/><path d="M5 16C5 1 19 1 19 16"/>
  </g>
  <g class="jp-icon3" fill="#616161">
    <circle cx="5" cy="18" r="2.4"/><circle cx="12" cy="18" r="2.4"/><circle cx="19" cy="18" r="2.4"/>
  </g>
</svg>`,
});
