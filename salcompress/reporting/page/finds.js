// Hits, misses and false finds of one picture: how many there are, and their outlines.
page.finds = (() => {
  const SVG = "http://www.w3.org/2000/svg";
  const classes = page.data.viewer?.classes ?? {};
  const shown = { hits: true, misses: true, false: true, labels: false };

  /** Boxes by kind; `shot` is null for a picture in which nothing was searched. */
  function ofShot(image, shot) {
    const there = image.objects
      .map((object, k) => ({ ...object, k }))
      .filter((object) => !object.crowd);
    if (!shot) return { hits: [], misses: [], false: [], there };
    const hit = new Set(shot.finds.map((find) => find.object));
    return {
      hits: shot.finds.filter((find) => find.object !== null),
      misses: there.filter((object) => !hit.has(object.k)),
      false: shot.finds.filter((find) => find.object === null),
      there,
    };
  }

  function element(name, attributes) {
    const made = document.createElementNS(SVG, name);
    Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
    return made;
  }

  /** An outline with a dark casing, so that it is seen on any picture. */
  function outline(found, kind) {
    const group = element("g", { class: kind });
    const [x, y, width, height] = found.box;
    const shape = found.outline
      ? ["path", { d: found.outline, transform: "translate(0.5 0.5)" }] // through pixels' centres
      : ["rect", { x, y, width, height }];
    group.append(
      element(shape[0], { ...shape[1], class: "casing" }),
      element(shape[0], { ...shape[1], class: "line" }),
    );
    return group;
  }

  function label(found, kind, scale) {
    const [x, y] = found.box;
    const score = found.score === undefined ? "" : ` ${found.score.toFixed(2)}`;
    const text = element("text", {
      class: kind,
      x: Math.max(x, 2 / scale),
      y: y - 4 / scale > 12 / scale ? y - 4 / scale : y + 13 / scale,
      "font-size": 12 / scale,
      "stroke-width": 3 / scale,
    });
    text.textContent = `${classes[found.class] ?? found.class}${score}`;
    return text;
  }

  /** Draw into an SVG whose viewBox is in pixels of the picture, `scale` of the screen's each. */
  function draw(svg, image, shot, scale) {
    const kinds = ofShot(image, shot);
    const drawn = shot
      ? ["misses", "false", "hits"].filter((kind) => shown[kind])
      : ["there"].filter(() => shown.hits || shown.misses);
    const outlines = drawn.flatMap((kind) => kinds[kind].map((found) => outline(found, kind)));
    const labels = shown.labels
      ? drawn.flatMap((kind) => kinds[kind].map((found) => label(found, kind, scale)))
      : [];
    svg.replaceChildren(...outlines, ...labels);
  }

  return { ofShot, draw, shown };
})();
