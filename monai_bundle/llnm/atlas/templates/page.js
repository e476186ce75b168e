// The page: controls, slices, what is under the pointer, and marks that stay readable while the gland turns.

const element = (id) => document.getElementById(id);
const AXES = [
  { id: "sagittal", axis: 0, across: 1, up: 2, words: ["right", "left"], ends: ["A", "P", "S", "I"] },
  { id: "coronal", axis: 1, across: 0, up: 2, words: ["front", "back"], ends: ["R", "L", "S", "I"] },
  { id: "axial", axis: 2, across: 0, up: 1, words: ["head", "feet"], ends: ["R", "L", "A", "P"] },
];
const HALF = Math.PI / 2;
const VIEWS = { Front: [0, 0], Back: [2 * HALF, 0], Left: [HALF, 0], Right: [-HALF, 0], Head: [0, HALF - 0.01], Feet: [0, 0.01 - HALF] };
const MARKS = [["R", 0, 1], ["L", 0, -1], ["Front", 1, 1], ["Back", 1, -1], ["Head", 2, 1], ["Feet", 2, -1]];

async function start() {
  const atlas = await readAtlas(JSON.parse(element("atlas").textContent));
  const state = { azimuth: 0, elevation: 0.12, zoom: 1, threshold: 0, opacity: 1, planes: false, turning: false, slices: atlas.start };
  const canvas = element("view"), draw = createSurface(canvas, atlas);
  element("failure").hidden = draw !== null;
  const view = { camera: null, pending: false };
  const marks = MARKS.map(([text, axis, sign]) => {
    const mark = document.createElement("span");
    mark.textContent = text;
    element("marks").append(mark);
    const at = [...atlas.centre];
    at[axis] += sign * (atlas.half[axis] + 7);
    return { mark, at };
  });

  function frame() {
    view.pending = false;
    if (state.turning) state.azimuth += 0.02;
    const { clientWidth: width, clientHeight: height } = canvas, ratio = Math.min(window.devicePixelRatio || 1, 2);
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    view.camera = cameraOf(atlas, state, width, height);
    if (draw) draw(state, { ...view.camera, pixelsPerMm: view.camera.pixelsPerMm * ratio });
    const middle = view.camera.project(atlas.centre);
    for (const { mark, at } of marks) {
      const seen = view.camera.project(at);
      moveTo(mark, seen, "-50%, -50%");
      // A mark in line with the eye says nothing, and hides the gland.
      mark.hidden = Math.hypot(seen.x - middle.x, seen.y - middle.y) < 70;
    }
    if (atlas.place) moveTo(element("nodule"), view.camera.project(atlas.place), "0, 0");
    if (state.turning) redraw();
  }
  function redraw() {
    if (!view.pending) requestAnimationFrame(frame);
    view.pending = true;
  }
  const slices = drawSlices.bind(null, atlas, state);
  connectControls(atlas, state, redraw, slices);
  connectPointer(atlas, state, view, redraw);
  new ResizeObserver(redraw).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { slices(); redraw(); });
  slices();
  frame();
}

function moveTo(item, { x, y }, shift) {
  item.style.transform = `translate(${x.toFixed(1)}px, ${y.toFixed(1)}px) translate(${shift})`;
}

function connectControls(atlas, state, redraw, slices) {
  const slider = (id, apply, show) => {
    const input = element(id);
    const update = () => {
      apply(Number(input.value));
      element(`${id.replace("-at", "")}-value`).textContent = show();
      redraw();
    };
    input.addEventListener("input", update);
    update();
  };
  slider("threshold", (value) => {
    state.threshold = value;
    element("cut").style.left = `${(100 * value) / atlas.top}%`;
    element("shown").textContent = shownWords(atlas, value);
    slices();
  }, () => (state.threshold > 0 ? atlas.number(state.threshold) : "everything"));
  slider("opacity", (value) => { state.opacity = value / 100; }, () => `${Math.round(state.opacity * 100)} %`);
  for (const { id, axis, words } of AXES) {
    const input = element(`${id}-at`);
    input.max = atlas.shape[axis] - 1;
    input.value = state.slices[axis];
    slider(`${id}-at`, (value) => { state.slices[axis] = value; slices(); }, () => {
      const mm = atlas.position(state.slices)[axis];
      return `${Math.abs(mm).toFixed(0)} mm to the ${words[mm >= 0 ? 0 : 1]}`;
    });
    element(id).addEventListener("click", (event) => cutThrough(sliceIndex(atlas, state, id, event)));
  }
  function cutThrough(index) {
    for (const { id, axis } of AXES) {
      element(`${id}-at`).value = Math.round(index[axis]);
      element(`${id}-at`).dispatchEvent(new Event("input"));
    }
  }
  element("planes").addEventListener("change", (event) => { state.planes = event.target.checked; redraw(); });
  for (const button of document.querySelectorAll("[data-view]")) {
    button.addEventListener("click", () => { [state.azimuth, state.elevation] = VIEWS[button.dataset.view]; redraw(); });
  }
  for (const button of document.querySelectorAll("[data-region]")) {
    button.addEventListener("click", () => cutThrough(atlas.centres[button.dataset.region]));
  }
  element("to-nodule")?.addEventListener("click", () => cutThrough(atlas.index(atlas.place)));
  element("turn").addEventListener("click", (event) => {
    state.turning = !state.turning;
    event.target.setAttribute("aria-pressed", state.turning);
    redraw();
  });
}

function shownWords(atlas, threshold) {
  const percent = (part) => (part > 0 && part < 0.01 ? "<1" : (100 * part).toFixed(0));
  const share = (part) => `${percent(part / atlas.gland)} % of the gland, by volume`;
  return threshold > 0 ? share(atlas.countShown(threshold)) : `evidence in ${share(atlas.known.length)}`;
}

function connectPointer(atlas, state, view, redraw) {
  const canvas = element("view"), tip = element("tip"), limit = HALF - 0.01;
  let last = null;
  const turn = (across, up) => {
    state.azimuth -= across;
    state.elevation = Math.max(-limit, Math.min(limit, state.elevation + up));
    redraw();
  };
  const zoom = (factor) => { state.zoom = Math.max(0.5, Math.min(8, state.zoom * factor)); redraw(); };
  canvas.addEventListener("pointerdown", (event) => { last = event; canvas.setPointerCapture(event.pointerId); });
  canvas.addEventListener("pointerup", () => { last = null; });
  canvas.addEventListener("pointerleave", () => { tip.hidden = true; });
  canvas.addEventListener("pointermove", (event) => {
    if (last) turn((event.clientX - last.clientX) / 150, (event.clientY - last.clientY) / 150);
    if (last) last = event;
    const at = last ? -1 : voxelUnder(atlas, state, view.camera, event.offsetX, event.offsetY);
    tip.hidden = at < 0;
    if (at >= 0) tip.textContent = atlas.words(at);
    const left = event.offsetX > canvas.clientWidth - 280;
    moveTo(tip, { x: event.offsetX + (left ? -14 : 14), y: event.offsetY + 14 }, left ? "-100%, 0" : "0, 0");
  });
  canvas.addEventListener("wheel", (event) => { event.preventDefault(); zoom(Math.exp(-event.deltaY / 600)); }, { passive: false });
  const keys = {
    ArrowLeft: () => turn(-0.1, 0), ArrowRight: () => turn(0.1, 0), ArrowUp: () => turn(0, -0.1), ArrowDown: () => turn(0, 0.1),
    "+": () => zoom(1.15), "=": () => zoom(1.15), "-": () => zoom(1 / 1.15), Home: () => { [state.azimuth, state.elevation, state.zoom] = [0, 0, 1]; redraw(); },
  };
  canvas.addEventListener("keydown", (event) => {
    if (!keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  });
}

// The first voxel along the pointer's ray that is on a shown slice, or in the gland where its surface is drawn.
function voxelUnder(atlas, state, camera, x, y) {
  const direction = camera.ray(x, y), step = Math.min(...atlas.spacing) / 2;
  const far = Math.hypot(...camera.eye.map((part, axis) => part - atlas.centre[axis])) + 1.5 * atlas.radius;
  let previous = null;
  for (let t = Math.max(0, far - 3 * atlas.radius); t < far; t += step) {
    const index = atlas.index(camera.eye.map((part, axis) => part + t * direction[axis]));
    const at = atlas.voxel(index);
    const cut = state.planes && previous && state.slices.some((n, axis) => (previous[axis] - n) * (index[axis] - n) <= 0);
    previous = index;
    if (at >= 0 && (cut || (state.opacity >= 0.5 && atlas.isShown(at, state.threshold)))) return at;
  }
  return -1;
}

// Each slice as a picture: patient's right, or front, at the left, and head, or front, on top.
function drawSlices(atlas, state) {
  for (const { id, axis, across, up, ends } of AXES) {
    const canvas = element(id), width = atlas.shape[across], height = atlas.shape[up];
    const [w, h] = [width * atlas.spacing[across], height * atlas.spacing[up]].map((mm) => Math.round(mm * atlas.pixels));
    if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
    const small = new OffscreenCanvas(width, height), pixels = new ImageData(width, height), index = [...state.slices];
    for (let row = 0; row < height; row += 1) {
      for (let column = 0; column < width; column += 1) {
        index[across] = width - 1 - column;
        index[up] = height - 1 - row;
        const at = atlas.voxel(index), faint = at >= 0 && !atlas.isShown(at, state.threshold) ? 60 : 255;
        if (at >= 0) pixels.data.set([...atlas.colour(at), faint], 4 * (row * width + column));
      }
    }
    small.getContext("2d").putImageData(pixels, 0, 0);
    const brush = canvas.getContext("2d"), style = getComputedStyle(document.body);
    brush.clearRect(0, 0, w, h);
    brush.imageSmoothingEnabled = false;
    brush.drawImage(small, 0, 0, w, h);
    const [x, y] = toPixels([state.slices[across], state.slices[up]]);
    brush.globalAlpha = 0.6;
    brush.fillStyle = brush.strokeStyle = style.color;
    brush.fillRect(x, 0, 1, h);
    brush.fillRect(0, y, w, 1);
    brush.globalAlpha = 1;
    brush.font = "600 12px sans-serif";
    [[3, h / 2], [w - 11, h / 2], [w / 2 - 4, 12], [w / 2 - 3, h - 4]].forEach(([u, v], n) => brush.fillText(ends[n], u, v));
    if (atlas.place) markNodule(brush, toPixels(atlas.index(atlas.place).filter((_, n) => n !== axis)), Math.abs(atlas.index(atlas.place)[axis] - state.slices[axis]) * atlas.spacing[axis]);
    function toPixels([u, v]) {
      return [((width - 0.5 - u) * w) / width, ((height - 0.5 - v) * h) / height];
    }
  }
  const at = atlas.voxel(state.slices);
  element("crossing").textContent = `Where the slices cross: ${at < 0 ? "outside the gland" : atlas.words(at).replaceAll("\n", ", ")}.`;
}

// A ring where the slice passes within 1.5 mm of the nodule's place, dashed elsewhere.
function markNodule(brush, [x, y], away) {
  brush.setLineDash(away <= 1.5 ? [] : [2, 3]);
  for (const [colour, width] of [["#fff", 5], [getComputedStyle(document.documentElement).getPropertyValue("--nodule"), 2.5]]) {
    brush.strokeStyle = colour;
    brush.lineWidth = width;
    brush.beginPath();
    brush.arc(x, y, 7, 0, 4 * HALF);
    brush.stroke();
  }
  brush.setLineDash([]);
}

// The index that a click on a slice means.
function sliceIndex(atlas, state, id, event) {
  const { across, up } = AXES.find((slice) => slice.id === id), canvas = element(id), index = [...state.slices];
  index[across] = Math.round(atlas.shape[across] - 0.5 - (event.offsetX / canvas.clientWidth) * atlas.shape[across]);
  index[up] = Math.round(atlas.shape[up] - 0.5 - (event.offsetY / canvas.clientHeight) * atlas.shape[up]);
  return index.map((n, axis) => Math.max(0, Math.min(atlas.shape[axis] - 1, n)));
}

start();
