"use strict";
// Asks for the status every two seconds and shows it. What comes from the server is put in as text, never as HTML.
const EVERY = 2000;
const STATES = [["agreed", "agreed"], ["adjudication", "adjudication"], ["waiting for readers", "waiting"], ["in work", "work"], ["open", "open"]];
const WORDS = { "agreed": "agreed", "adjudication": "readers disagree", "waiting for readers": "more readers to come", "in work": "in work", "open": "not begun" };
const $ = (id) => document.getElementById(id);
let shown = "", queue = "", token = sessionStorage.getItem("token") || "", late = 0;

function headers(more = {}) { return token ? { ...more, Authorization: "Bearer " + token } : more; }

async function ask(path, options = {}) {
  const response = await fetch(path, { ...options, headers: headers(options.headers), cache: "no-cache" });
  if (response.ok) return response;
  let told = response.status + " " + response.statusText;
  try { const body = await response.json(); if (typeof body.detail === "string") told = body.detail; } catch (error) { /* no JSON: the status must do */ }
  throw Object.assign(new Error(told), { status: response.status });
}

function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  if (text !== undefined && text !== null) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 90) return Math.round(seconds) + " s";
  if (seconds < 5400) return Math.round(seconds / 60) + " min";
  return (seconds / 3600).toFixed(1) + " h";
}

const decimals = (value) => value === null || value === undefined ? "–" : value.toFixed(2);
const percent = (part, whole) => whole ? Math.round(100 * part / whole) + " %" : "0 %";

function rows(id, lines, empty) {
  const body = $(id).tBodies[0];
  body.replaceChildren(...lines.map((cells) => {
    const row = element("tr");
    cells.forEach((cell, index) => row.append(index ? element("td", cell) : element("th", cell, { scope: "row" })));
    return row;
  }));
  if (!lines.length) {
    const row = element("tr");
    row.append(element("td", empty, { colspan: $(id).tHead.rows[0].cells.length, class: "soft" }));
    body.append(row);
  }
}

function progress(status) {
  const parts = STATES.map(([state, style]) => ({ state, style, count: status.states[state] }));
  $("bar").replaceChildren(...parts.filter((part) => part.count).map((part) => element("i", null, { class: part.style, style: `flex: ${part.count} 0 0`, title: `${part.count} ${WORDS[part.state]}` })));
  $("bar").setAttribute("aria-label", parts.map((part) => `${part.count} ${WORDS[part.state]}`).join(", "));
  $("legend").replaceChildren(...parts.map((part) => {
    const item = element("li");
    item.append(element("i", null, { class: part.style }), `${part.count} ${WORDS[part.state]}`);
    return item;
  }));
  const time = status.seconds, left = status.images - status.annotated;
  const facts = [
    ["Images annotated", `${status.annotated} of ${status.images}`, percent(status.annotated, status.images)],
    ["Agreed", status.states.agreed, percent(status.states.agreed, status.images)],
    ["Labels", status.labels, status.agreement.images ? `${status.agreement.images} images read by several` : "one reader an image so far"],
    ["Time an image", duration(time && time.median), time ? `half lie in ${duration(time.quartiles[0])} to ${duration(time.quartiles[1])}` : "median, once a label is in"],
    ["Readers' Dice", decimals(status.agreement.mean_dice), `below ${decimals(status.settings.agreement_dice)} a reviewer decides`],
    ["Work left", time ? duration(time.median * left) : "–", "images not begun, at the median time"],
  ];
  $("facts").replaceChildren(...facts.map(([name, value, remark]) => {
    const fact = element("div"), number = element("dd", value);
    number.append(element("small", remark));
    fact.append(element("dt", name), number);
    return fact;
  }));
}

function svg(name, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

function curve(points) {
  if (!points.length) { $("curve").replaceChildren(element("p", "No model has been measured yet.", { class: "soft" })); return; }
  const width = 560, height = 300, left = 48, right = 16, top = 14, bottom = 44;
  const lows = points.map((point) => point.dice.low ?? point.dice.value), highs = points.map((point) => point.dice.high ?? point.dice.value);
  const floor = Math.max(0, Math.floor(10 * Math.min(...lows) - 0.5) / 10), ceiling = Math.min(1, Math.ceil(10 * Math.max(...highs) + 0.5) / 10);
  const most = Math.max(1, ...points.map((point) => point.labels));
  const x = (labels) => left + (width - left - right) * labels / most;
  const y = (dice) => top + (height - top - bottom) * (ceiling - dice) / (ceiling - floor);
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "Learning curve: " + points.map((point) => `${point.labels} labels, Dice ${decimals(point.dice.value)}`).join("; ") });
  for (let tick = Math.round(10 * floor); tick <= Math.round(10 * ceiling); tick++) {
    drawing.append(svg("line", { class: "grid", x1: left, x2: width - right, y1: y(tick / 10), y2: y(tick / 10) }), svg("text", { x: left - 8, y: y(tick / 10) + 4, "text-anchor": "end" }, (tick / 10).toFixed(1)));
  }
  const step = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 1e9].find((size) => most / size <= 6);
  for (let labels = 0; labels <= most; labels += step) drawing.append(svg("text", { x: x(labels), y: height - bottom + 18, "text-anchor": "middle" }, String(labels)));
  drawing.append(svg("text", { x: (left + width - right) / 2, y: height - 8, "text-anchor": "middle" }, "labels the model was trained on"), svg("text", { x: 14, y: top + (height - top - bottom) / 2, "text-anchor": "middle", transform: `rotate(-90 14 ${top + (height - top - bottom) / 2})` }, "Dice"));
  const taken = points.filter((point) => point.accepted);
  drawing.append(svg("polyline", { class: "line", points: taken.map((point) => `${x(point.labels)},${y(point.dice.value)}`).join(" ") }));
  points.forEach((point, index) => {
    const dot = svg("circle", { cx: x(point.labels), cy: y(point.dice.value), r: 5, class: point.accepted ? "taken" : "refused" });
    dot.append(svg("title", {}, `${point.version}: Dice ${point.dice.value.toFixed(3)} (${lows[index].toFixed(3)} to ${highs[index].toFixed(3)}) on ${point.patients} patients, ${point.labels} labels`));
    drawing.append(svg("line", { class: "interval", x1: x(point.labels), x2: x(point.labels), y1: y(lows[index]), y2: y(highs[index]) }), dot);
  });
  $("curve").replaceChildren(drawing);
}

async function disagreements(status) {
  const waiting = status.adjudication;
  $("adjudication").hidden = !waiting.length;
  $("adjudication-help").textContent = status.you.reviewer ? "Whose outline counts? The white line is the consensus of all (STAPLE). One of the readers cannot decide. A mask of your own has the image's size; draw it in 3D Slicer, for instance." : `${waiting.length} images wait for a reviewer.`;
  const key = JSON.stringify([waiting, status.you]);
  if (!status.you.reviewer || key === queue) return;
  const found = await (await ask("adjudication")).json();
  const articles = await Promise.all(found.slice(0, 6).map(disagreement));
  document.querySelectorAll("#disagreements img").forEach((image) => URL.revokeObjectURL(image.src));
  $("disagreements").replaceChildren(...articles);
  if (found.length > 6) $("disagreements").append(element("p", `and ${found.length - 6} more`, { class: "soft" }));
  queue = key;
}

async function disagreement(found) {
  const article = element("article"), picture = element("img", null, { alt: `Outlines of ${found.choices.map((choice) => choice.name).join(", ")}` });
  const png = await (await ask("adjudication/picture?image=" + encodeURIComponent(found.image))).blob();
  picture.src = URL.createObjectURL(png);
  const pairs = found.pairs.map((pair) => `${pair.readers.join(" and ")}: ${decimals(pair.dice)}`).join("; ");
  const buttons = element("div", null, { class: "buttons" });
  for (const choice of found.choices) {
    const button = element("button", null, { type: "button" });
    button.append(element("i", null, { style: "background: " + choice.colour }), "Take " + choice.name);
    button.addEventListener("click", () => decide(found.image, choice.name, buttons));
    buttons.append(button);
  }
  const own = element("label", null, { class: "button" }), file = element("input", null, { type: "file", accept: ".png,.nrrd,.nii,.nii.gz,.mha,.tif,.tiff,.bmp" });
  file.addEventListener("change", () => { if (file.files.length) send(found.image, file, buttons); });
  own.append("Send a mask of your own", file);
  buttons.append(own);
  article.append(element("h3", found.image), picture, element("p", "Dice of " + pairs, { class: "soft" }), buttons);
  return article;
}

function decide(image, choice, buttons) {
  return settle("adjudication", { headers: { "Content-Type": "application/json" }, body: JSON.stringify({ image, choice }) }, buttons);
}

async function send(image, input, buttons) {
  const form = new FormData();
  form.append("image", image);
  form.append("label", input.files[0]);
  await settle("adjudication/mask", { body: form }, buttons);
  input.value = "";  // so that the same file, drawn anew, can be chosen again
}

async function settle(path, options, buttons) {
  const controls = buttons.querySelectorAll("button, input");
  controls.forEach((control) => { control.disabled = true; });
  buttons.querySelectorAll("[role=alert]").forEach((told) => told.remove());
  try {
    await ask(path, { method: "POST", ...options });
    await look();
  } catch (error) {
    buttons.append(element("p", error.message, { role: "alert" }));
    controls.forEach((control) => { control.disabled = false; });
  }
}

function show(status) {
  const who = status.you.reviewer ? `${status.you.name}, reviewer` : status.you.name;
  $("summary").textContent = `Masks of the ${status.settings.structure} on ${status.images} images, ${status.validation_images} of them for validation · you are ${who}`;
  progress(status);
  curve(status.curve);
  rows("annotators", status.annotators.map((row) => [row.name, row.labels, row.in_work, duration(row.seconds && row.seconds.median), decimals(row.mean_dice)]), "Nobody has begun yet.");
  rows("in-work", status.in_work.map((row) => [row.image, row.annotator, duration(row.expires - Date.now() / 1000)]), "Nothing is in work.");
  rows("log", status.audit.recent.map((row) => [row.n, row.at.replace("T", " ").slice(0, 19) + " UTC", row.who, row.what, row.image]), "The log is empty.");
  $("head").textContent = `${status.audit.entries} ${status.audit.head}`;
  $("reviewer").hidden = !status.you.reviewer;
  $("content").hidden = false;
}

async function look() {
  try {
    const text = await (await ask("status")).text(), status = JSON.parse(text);
    // The time left of what is in work goes on, even where nothing else does.
    if (text !== shown || status.in_work.length) show(status);
    shown = text;
    await disagreements(status);
    $("trouble").hidden = true;
    $("sign-in").hidden = true;
    $("updated").textContent = "Updated " + new Date().toLocaleTimeString("en-GB") + ".";
    late = 0;
  } catch (error) {
    const unknown = error.status === 401;
    $("sign-in").hidden = !unknown;
    if (unknown) $("content").hidden = true;
    $("trouble").hidden = unknown && !token;
    $("trouble").textContent = unknown ? "The server does not know this token." : error.status ? error.message : "The server does not answer; what you see may be old. Trying again …";
    late += 1;
  }
}

async function turn() {
  await look();
  // A server that is away is asked less and less often, up to half a minute.
  setTimeout(turn, Math.min(EVERY * 2 ** Math.min(late, 4), 30000));
}

$("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  token = $("token").value.trim();
  sessionStorage.setItem("token", token);
  look();
});

$("check").addEventListener("click", async () => {
  $("answer").textContent = "Checking …";
  try {
    const log = await (await ask("audit")).json();
    $("answer").textContent = log.whole ? `The log is whole: ${log.entries.length} entries, every label as submitted.` : log.problem;
  } catch (error) { $("answer").textContent = error.message; }
});

$("export").addEventListener("click", async () => {
  $("answer").textContent = "Writing …";
  try {
    const link = element("a", null, { download: "campaign.zip", href: URL.createObjectURL(await (await ask("export")).blob()) });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    $("answer").textContent = "campaign.zip is in your downloads.";
  } catch (error) { $("answer").textContent = error.message; }
});

turn();
