// Keys, and the list of them.
(() => {
  const { viewer, stage, charts, theme } = page;
  const help = page.byId("help");

  function arrow(x, y) {
    if (stage.isZoomed()) stage.move(x * 60, y * 60);
    else if (x) stage.divideBy(x * 0.05);
  }

  const general = [
    [["u"], "next unit of rates", () => charts.nextUnit()],
    [["d"], "dark or light", () => theme.toggle()],
    [["?"], "this list", () => (help.open ? help.close() : help.showModal())],
  ];
  const ofViewer = viewer && [
    [["p", "n"], "previous or next picture", (k) => viewer.nextPicture(k ? 1 : -1)],
    [["[", "]"], "previous or next setting on the right", (k) => viewer.nextSetting(k ? 1 : -1)],
    [["x"], "swap left and right", () => viewer.swap()],
    [
      ["h", "m", "f"],
      "hits, misses, false finds",
      (k) => viewer.toggleKind(["hits", "misses", "false"][k]),
    ],
    [["l"], "labels", () => viewer.toggleKind("labels")],
    [
      ["s", "q", "b"],
      "map of saliency, quality, bits",
      (k) => viewer.toggleMap(["saliency", "quality", "bits"][k]),
    ],
    [
      ["+", "-", "0"],
      "zoom in, out, fit",
      (k) => [() => stage.step(1), () => stage.step(-1), stage.fit][k](),
    ],
  ];
  const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const keys = [...(ofViewer ?? []), ...general];

  page
    .byId("help-keys")
    .append(
      ...keys.flatMap(([names, what]) => [
        page.make("dt", {}, ...names.map((name) => page.make("kbd", { textContent: name }))),
        page.make("dd", { textContent: what }),
      ]),
      ...(viewer
        ? [
            page.make(
              "dt",
              {},
              ...["←", "→", "↑", "↓"].map((name) => page.make("kbd", { textContent: name })),
            ),
            page.make("dd", {
              textContent:
                "with the pictures in focus: move the divider, or the view where it is zoomed",
            }),
          ]
        : []),
    );
  page.byId("keys").addEventListener("click", () => help.showModal());

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("select, input"))
      return;
    if (arrows[event.key] && document.activeElement === page.byId("stage")) {
      event.preventDefault();
      arrow(...arrows[event.key]);
      return;
    }
    const key = event.key === "=" ? "+" : event.key;
    const found = keys.find(([names]) => names.includes(key));
    if (found && (!help.open || event.key === "?")) {
      event.preventDefault();
      found[2](found[0].indexOf(key));
    }
  });
})();
