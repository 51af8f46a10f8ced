// A structure in Mol*, which the hub serves under /assets/molstar/ if it has it. Mol* evaluates text as code, so it runs
// in a sandboxed frame (viewer.html), which gets the file and nothing else.

const FORMATS = { cif: "mmcif", mmcif: "mmcif", pdb: "pdb", ent: "pdb" };

const ending = (name) => name.slice(name.lastIndexOf(".") + 1).toLowerCase();

/** Whether a file's name is a structure's. */
export function isStructure(name) {
  return name.includes(".") && Object.hasOwn(FORMATS, ending(name));
}

/** Shows what `load` brings in `place`, and sets there what is seen; false if the hub has no Mol*. */
export async function view(place, name, load) {
  const has = await fetch("/assets/molstar/molstar.js", { method: "HEAD" });
  if (!has.ok) return false;
  const text = await load();
  const frame = document.createElement("iframe");
  frame.setAttribute("sandbox", "allow-scripts");
  frame.src = "/assets/viewer.html";
  const shown = await new Promise((done, failed) => {
    const hear = ({ source, data }) => {
      if (source !== frame.contentWindow) return;
      if (data.ready) return source.postMessage({ name, format: FORMATS[ending(name)], text }, "*");
      removeEventListener("message", hear);
      return data.error === undefined ? done(data) : failed(new Error(data.error));
    };
    addEventListener("message", hear);
    place.replaceChildren(frame);
  });
  Object.assign(place.dataset, { structure: "shown", atoms: shown.atoms, colour: shown.colour });
  return true;
}
