// Mol* in a frame of its own, which can reach nothing: not the page around it, no storage, no network. It hears
// {name, format, text} from that page and tells it {atoms, colour}, or {error}. A file that says how sure it is of each
// residue (pLDDT, as `khub fold` writes it) is coloured by that.

const tell = (what) => parent.postMessage(what, "*");

addEventListener("message", (event) => {
  if (event.source === parent) show(event.data).then(tell, (error) => tell({ error: error.message }));
});
tell({ ready: true });

async function show({ name, format, text }) {
  const viewer = await molstar.Viewer.create("viewer", {
    extensions: ["ma-quality-assessment"], layoutIsExpanded: true, layoutShowControls: false,
    layoutShowRemoteState: false, layoutShowLog: false, layoutShowLeftPanel: false, viewportShowAnimation: false,
    viewportShowExpand: false, volumeStreamingDisabled: true,
  });
  if (!viewer.plugin.canvas3d) throw new Error("this browser has no WebGL");
  await viewer.loadStructureFromData(text, format, { dataLabel: name });
  const [shown] = viewer.plugin.managers.structure.hierarchy.current.structures;
  if (!shown) throw new Error("there is no structure in it");
  const look = shown.components[0]?.representations[0]?.cell.transform.params;
  return { atoms: shown.cell.obj.data.elementCount, colour: look?.colorTheme.name ?? "" };
}
