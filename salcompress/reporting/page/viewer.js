// The viewer: which picture at which two settings, with which map.
page.viewer = (() => {
  const content = page.data.viewer;
  if (!content || !page.stage) return null;
  const { settings, curves } = page.data;
  const selects = { left: page.byId("left"), right: page.byId("right") };
  const plain = settings.findIndex((setting) => setting.codec === "none");
  const ORIGINAL = "original";
  let picture = 0;
  let map = null;

  const image = () => content.images[picture];
  const shotOf = (side) =>
    image().shots.find((shot) => String(shot.row) === selects[side].value) ?? null;

  function option(value, title) {
    return page.make("option", { value, textContent: title });
  }

  function fill(select) {
    if (plain < 0) select.append(option(ORIGINAL, "original"));
    settings.forEach((setting, row) => select.append(option(row, setting.title)));
  }

  function dot(kind, text) {
    return page.make("span", { className: `count ${kind}`, textContent: text });
  }

  /** What the colours of a map stand for; nothing where there is no map. */
  function scaleOf(shot) {
    const found = map && shot.maps[map];
    if (!found) return [];
    const scale = page.make("span", { className: "scale" });
    scale.append(`${map} ${found.low}`, page.make("i"), found.high);
    return [scale];
  }

  function caption(side) {
    const shot = shotOf(side);
    const title = page.make("b", { textContent: selects[side].selectedOptions[0].textContent });
    if (!shot) {
      const missing =
        selects[side].value === ORIGINAL
          ? `${image().objects.length} annotated objects`
          : "not kept";
      return [title, ` ${missing}`];
    }
    const kinds = page.finds.ofShot(image(), shot);
    const bpp = shot.bits / (image().width * image().height);
    const facts = [
      `${bpp.toFixed(3)} bpp`,
      `${(shot.bits / 8000).toFixed(1)} kB`,
      shot.psnr === null ? "exact" : `${shot.psnr.toFixed(1)} dB`,
    ];
    return [
      title,
      ` ${facts.join(" · ")}`,
      page.make("br"),
      dot("hits", `${kinds.hits.length} of ${kinds.there.length} found`),
      dot("misses", `${kinds.misses.length} missed`),
      dot("false", `${kinds.false.length} false`),
      ...scaleOf(shot),
    ];
  }

  function drawFinds(scale) {
    for (const [side, element] of Object.entries(page.stage.sides)) {
      page.finds.draw(element.querySelector("svg"), image(), shotOf(side), scale);
    }
  }

  function drawMaps() {
    for (const [side, element] of Object.entries(page.stage.sides)) {
      const found = map && shotOf(side)?.maps[map];
      const overlay = element.querySelector(".map");
      overlay.hidden = !found;
      if (found) overlay.src = found.data_uri;
      page.byId(`${side}-caption`).replaceChildren(...caption(side));
    }
    const shots = [shotOf("left"), shotOf("right")];
    page.all("[data-map]").forEach((button) => {
      button.disabled = !shots.some((shot) => shot?.maps[button.dataset.map]);
      button.title = button.disabled
        ? "Neither setting has maps: the learned codec gives them"
        : "";
      button.setAttribute("aria-pressed", button.dataset.map === map && !button.disabled);
    });
  }

  function draw() {
    for (const [side, element] of Object.entries(page.stage.sides)) {
      const shown = element.querySelector(".picture");
      const source = shotOf(side)?.picture ?? image().original;
      if (shown.src !== source) shown.src = source;
      shown.alt = `${image().name}, ${selects[side].selectedOptions[0].textContent}`;
    }
    page
      .all("#thumbs button")
      .forEach((thumb, k) => thumb.setAttribute("aria-pressed", k === picture));
    drawMaps();
    page.stage.setSize(image().width, image().height);
  }

  function choosePicture(k) {
    picture = (k + content.images.length) % content.images.length;
    draw();
  }

  function toggleKind(kind) {
    page.finds.shown[kind] = !page.finds.shown[kind];
    document
      .querySelector(`[data-kind="${kind}"]`)
      .setAttribute("aria-pressed", page.finds.shown[kind]);
    page.stage.place();
  }

  function toggleMap(name) {
    map = map === name ? null : name;
    drawMaps();
  }

  function swap() {
    [selects.left.value, selects.right.value] = [selects.right.value, selects.left.value];
    draw();
  }

  /** Another setting on the right: the next one of the list, or the one before. */
  function nextSetting(by) {
    const count = selects.right.options.length;
    selects.right.selectedIndex = (selects.right.selectedIndex + by + count) % count;
    draw();
  }

  /** Show a picture, uncompressed on the left and at a setting on the right, and go there. */
  function open(k, row) {
    selects.left.value = plain < 0 ? ORIGINAL : plain;
    selects.right.value = row;
    choosePicture(k);
    page.byId("viewer").scrollIntoView({ behavior: "smooth" });
    page.byId("stage").focus({ preventScroll: true });
  }

  /** The cheapest setting of the learned codec, else of the last codec. */
  function firstShown() {
    const rows = settings
      .map((setting, row) => ({ ...setting, row }))
      .filter(({ codec }) => codec !== "none");
    const ours = rows.filter(({ codec }) => codec === "salient");
    return (ours[0] ?? rows[rows.length - 1] ?? { row: plain }).row;
  }

  Object.values(selects).forEach((select) => {
    fill(select);
    select.addEventListener("change", draw);
  });
  selects.left.value = plain < 0 ? ORIGINAL : plain;
  selects.right.value = firstShown();
  page.byId("viewer-note").textContent =
    `Drag the divider between two settings. Rates and PSNR are this picture's own. ${content.note}`;
  page.byId("thumbs").append(
    ...content.images.map((shown, k) => {
      const thumb = page.make("button", { type: "button", title: shown.name });
      thumb.append(page.make("img", { src: shown.original, alt: shown.name }));
      thumb.addEventListener("click", () => choosePicture(k));
      return thumb;
    }),
  );
  page
    .all("[data-kind]")
    .forEach((b) => b.addEventListener("click", () => toggleKind(b.dataset.kind)));
  page
    .all("[data-map]")
    .forEach((b) => b.addEventListener("click", () => toggleMap(b.dataset.map)));
  page.byId("swap").addEventListener("click", swap);
  page.byId("zoom-in").addEventListener("click", () => page.stage.step(1));
  page.byId("zoom-out").addEventListener("click", () => page.stage.step(-1));
  page.byId("zoom-fit").addEventListener("click", page.stage.fit);
  page.stage.onPlace((scale) => {
    page.byId("zoom").textContent = `${scale >= 10 ? scale.toFixed(0) : scale.toFixed(1)}×`;
    drawFinds(scale);
  });
  draw();
  return {
    firstShown,
    open,
    swap,
    toggleKind,
    toggleMap,
    nextSetting,
    nextPicture: (by) => choosePicture(picture + by),
  };
})();
