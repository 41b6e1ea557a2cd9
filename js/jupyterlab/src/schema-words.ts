import type { ISettingRegistry } from "@jupyterlab/settingregistry";
import type { TranslationBundle } from "@jupyterlab/translation";
import type { PartialJSONObject } from "@lumino/coreutils";

/**
 * Settings with titles and descriptions from a catalogue. JupyterLab's server translates schemas from the
 * files of its language packs alone; what an extension brings in "jupyterlab.locale" reaches the page.
 */
export function translated(
  plugin: ISettingRegistry.IPlugin,
  trans: Pick<TranslationBundle, "pgettext">,
): ISettingRegistry.IPlugin {
  const properties = Object.entries(plugin.schema.properties ?? {});
  const schema = {
    ...inWords(plugin.schema, "schema", trans),
    properties: Object.fromEntries(
      properties.map(([name, property]) => [name, inWords(property, "settings", trans)]),
    ),
  };
  return { ...plugin, schema };
}

/** @param context under which the server's own translation looks for such a text */
function inWords<T extends PartialJSONObject>(
  of: T,
  context: string,
  trans: Pick<TranslationBundle, "pgettext">,
): T {
  const said = ["title", "description"]
    .filter((name) => typeof of[name] === "string")
    .map((name) => [name, trans.pgettext(context, String(of[name]))]);
  return { ...of, ...Object.fromEntries(said) };
}
