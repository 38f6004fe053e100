// The stage: two pictures over each other, a divider between them, and a view that zooms and moves.
page.stage = (() => {
  const stage = page.byId("stage");
  if (!stage) return null;
  const divider = page.byId("divider");
  const sides = { left: stage.querySelector(".left"), right: stage.querySelector(".right") };
  const LARGEST = 32; // pixels of the screen for one of the picture
  const listeners = [];
  let size = { width: 1, height: 1 }; // of the picture
  let share = 0.5; // of the stage that shows the left picture
  let view = { zoom: 0, x: 0, y: 0 }; // zoom 0 fits; x and y are the picture's pixel at the corner

  const box = () => stage.getBoundingClientRect();

  function fitting() {
    const room = stage.parentElement.clientWidth;
    return Math.min(room / size.width, Math.max(240, window.innerHeight * 0.75) / size.height);
  }

  const scale = () => view.zoom || fitting();

  function clamp() {
    const s = scale();
    const most = { x: size.width - stage.clientWidth / s, y: size.height - stage.clientHeight / s };
    view.x = Math.max(0, Math.min(view.x, most.x));
    view.y = Math.max(0, Math.min(view.y, most.y));
  }

  function place() {
    const fit = fitting();
    stage.style.width = `${Math.floor(size.width * fit)}px`;
    stage.style.height = `${Math.floor(size.height * fit)}px`;
    clamp();
    const s = scale();
    stage.classList.toggle("zoomed", view.zoom > 0);
    const cut = Math.round(share * stage.clientWidth);
    sides.left.style.clipPath = `inset(0 ${stage.clientWidth - cut}px 0 0)`;
    sides.right.style.clipPath = `inset(0 0 0 ${cut}px)`;
    divider.style.left = `${cut}px`;
    divider.setAttribute("aria-valuenow", Math.round(share * 100));
    for (const side of Object.values(sides)) {
      const scene = side.querySelector(".scene");
      Object.assign(scene.style, {
        left: `${-view.x * s}px`,
        top: `${-view.y * s}px`,
        width: `${size.width * s}px`,
        height: `${size.height * s}px`,
      });
      scene.classList.toggle("pixels", s * window.devicePixelRatio >= 2);
      const map = scene.querySelector(".map");
      map.style.width = `${Math.ceil(size.width / 16) * 16 * s}px`;
      map.style.height = `${Math.ceil(size.height / 16) * 16 * s}px`;
      side
        .querySelector("svg")
        .setAttribute(
          "viewBox",
          [view.x, view.y, stage.clientWidth / s, stage.clientHeight / s].join(" "),
        );
    }
    listeners.forEach((listener) => listener(s));
  }

  /** Zoom so that the picture stays under a point of the stage, its middle by default. */
  function zoomTo(zoom, at = { x: stage.clientWidth / 2, y: stage.clientHeight / 2 }) {
    const before = scale();
    const fit = fitting();
    view.zoom = zoom <= fit * 1.001 ? 0 : Math.min(zoom, LARGEST);
    view.x += at.x / before - at.x / scale();
    view.y += at.y / before - at.y / scale();
    place();
  }

  /** The next whole number of screen pixels for one of the picture's, doubling. */
  function step(direction, at) {
    const now = Math.log2(scale());
    zoomTo(2 ** (direction > 0 ? Math.floor(now + 1.001) : Math.ceil(now - 1.001)), at);
  }

  function move(x, y) {
    view.x += x / scale();
    view.y += y / scale();
    place();
  }

  function divide(wanted) {
    share = Math.max(0, Math.min(1, wanted));
    place();
  }

  // one finger or the mouse: the divider, or the view where it is zoomed; two fingers: zoom
  const pointers = new Map();
  let dragged = null;
  const point = (event) => ({ x: event.clientX - box().left, y: event.clientY - box().top });

  function spread() {
    const [a, b] = [...pointers.values()];
    return { gap: Math.hypot(a.x - b.x, a.y - b.y), x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 };
  }

  stage.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    stage.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, point(event));
    const near = Math.abs(point(event).x - share * stage.clientWidth) < 24;
    dragged = event.target.closest(".divider") || near || !view.zoom ? "divider" : "view";
    if (dragged === "divider" && pointers.size === 1) divide(point(event).x / stage.clientWidth);
  });
  stage.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    const now = point(event);
    if (pointers.size === 2) {
      const old = spread();
      pointers.set(event.pointerId, now);
      zoomTo(scale() * (spread().gap / Math.max(old.gap, 1)), spread());
    } else if (dragged === "divider") divide(now.x / stage.clientWidth);
    else move(before.x - now.x, before.y - now.y);
    pointers.set(event.pointerId, now);
  });
  for (const end of ["pointerup", "pointercancel"])
    stage.addEventListener(end, (event) => pointers.delete(event.pointerId));
  stage.addEventListener("dblclick", (event) => zoomTo(view.zoom ? 0 : 8, point(event)));
  // the wheel alone scrolls the page
  stage.addEventListener(
    "wheel",
    (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      zoomTo(scale() * 2 ** (-event.deltaY / 200), point(event));
    },
    { passive: false },
  );
  divider.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -0.02, ArrowRight: 0.02, Home: -1, End: 1 }[event.key];
    if (!by) return;
    event.preventDefault();
    event.stopPropagation();
    divide(share + by);
  });
  new ResizeObserver(place).observe(stage.parentElement);

  return {
    sides,
    place,
    step,
    move,
    fit: () => zoomTo(0),
    divideBy: (by) => divide(share + by),
    isZoomed: () => view.zoom > 0,
    onPlace: (listener) => listeners.push(listener),
    setSize(width, height) {
      if (width !== size.width || height !== size.height) view = { zoom: 0, x: 0, y: 0 };
      size = { width, height };
      place();
    },
  };
})();
