// What the page knows of every voxel: its region, risk and interval. Indices (i, j, k) grow to the patient's right,
// front and head; positions are RAS millimetres.
"use strict";

async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).arrayBuffer();
}

async function readAtlas(stored) {
  const [ni, nj, nk] = stored.shape, size = ni * nj * nk, blank = 255;
  const packed = new Uint8Array(await unpack(stored.voxels));
  const [labels, risk, low, high] = [0, 1, 2, 3].map((n) => packed.subarray(n * size, (n + 1) * size));
  const share = (level) => (level === blank ? null : level / 254);
  const ramp = [...stored.ramp, stored.grey].map((code) => [1, 3, 5].map((n) => parseInt(code.slice(n, n + 2), 16)));
  const grey = ramp.pop(), ends = ramp.length - 1;
  // Voxels with evidence, hottest first, and all of the gland.
  const known = [];
  let gland = 0;
  for (let at = 0; at < size; at += 1) {
    if (labels[at]) gland += 1;
    if (labels[at] && risk[at] !== blank) known.push(at);
  }
  known.sort((a, b) => risk[b] - risk[a]);
  const atlas = {
    ...stored, labels, risk, blank, size, known, gland, grey,
    surface: new Float32Array(await unpack(stored.surface.vertices)),
    triangles: new Uint32Array(await unpack(stored.surface.triangles)),
    position: (index) => index.map((n, axis) => stored.origin[axis] + n * stored.spacing[axis]),
    index: (position) => position.map((mm, axis) => (mm - stored.origin[axis]) / stored.spacing[axis]),
    indexOf: (at) => [at % ni, Math.floor(at / ni) % nj, Math.floor(at / ni / nj)],
    // Number of the voxel nearest to an index, or -1 outside the gland.
    voxel(index) {
      const [i, j, k] = index.map(Math.round);
      if (i < 0 || j < 0 || k < 0 || i >= ni || j >= nj || k >= nk) return -1;
      const at = i + ni * (j + nj * k);
      return labels[at] ? at : -1;
    },
    values: (at) => ({ region: stored.regions[labels[at]], risk: share(risk[at]), low: share(low[at]), high: share(high[at]) }),
    isShown: (at, threshold) => threshold <= 0 || (risk[at] !== blank && risk[at] / 254 >= threshold - 1e-6),
    countShown(threshold) {
      const first = known.findIndex((at) => !atlas.isShown(at, threshold));
      return first < 0 ? known.length : first;
    },
    // Of those at or above a threshold (places in `known`), the ones that can be seen: a neighbour is not shown.
    exposed(threshold) {
      const isHidden = (at) => !labels[at] || !atlas.isShown(at, threshold);
      const steps = [1, -1, ni, -ni, ni * nj, -ni * nj], found = [];
      const count = atlas.countShown(threshold);
      for (let n = 0; n < count; n += 1) if (steps.some((step) => isHidden(known[n] + step))) found.push(n);
      return new Uint32Array(found);
    },
    // Colour of a share of the scale, and of a voxel.
    mix(share) {
      const x = Math.min(share, 1) * ends, n = Math.min(Math.floor(x), ends - 1);
      return ramp[n].map((part, channel) => part + (x - n) * (ramp[n + 1][channel] - part));
    },
    colour: (at) => (risk[at] === blank ? grey : atlas.mix(risk[at] / 254 / stored.top)),
    number: (value) => (stored.probability ? `${(value * 100).toFixed(0)} %` : value.toFixed(2)),
    // What is known of a voxel, in words.
    words(at) {
      const { region, risk: r, low: l, high: h } = atlas.values(at);
      if (r === null) return `${region}\nno evidence`;
      const interval = l === null ? "no interval" : `95 % interval ${atlas.number(l)} to ${atlas.number(h)}`;
      return `${region}\n${stored.short}: ${atlas.number(r)}\n${interval}`;
    },
  };
  return atlas;
}
