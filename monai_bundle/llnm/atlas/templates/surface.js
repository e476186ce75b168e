// The 3D view by WebGL 2: the gland's surface, slice planes, and the voxels at or above the threshold.

// What is known of a place: (risk where known, known, gland), each 0-1. The surface's vertices and the voxels carry it
// along, and only slices look the volume up: a software renderer is slow at that.
const VERTEX = `#version 300 es
precision highp float;
in vec3 position;
in vec3 normal;
in vec2 value;
uniform mat4 camera;
uniform vec3 origin, extent, eye;
uniform float pixels;
out vec3 at;
out vec2 here;
out float facing;
void main() {
  gl_Position = camera * vec4(position, 1.0);
  gl_PointSize = pixels / gl_Position.w;
  at = (position - origin) / extent;
  here = value;
  facing = abs(dot(normal, normalize(eye - position)));
}`;

// kind: 0 surface, 1 slice, 2 voxels, 3 frame of a slice. `solid`: the pass of what hides things, or of the rest.
const FRAGMENT = `#version 300 es
precision mediump float;
precision highp sampler3D;
in highp vec3 at;
in vec2 here;
in float facing;
uniform sampler3D voxels;
uniform sampler2D ramp;
uniform float threshold, top, opacity;
uniform vec3 grey;
uniform int kind;
uniform bool solid;
out vec4 colour;
void main() {
  if (kind == 3) { colour = vec4(0.45, 0.5, 0.55, 1.0); return; }
  vec2 voxel = here;
  if (kind == 1) {
    vec3 found = texture(voxels, at).rgb;
    if (found.b < 0.5) discard;
    voxel = found.rg;
  }
  bool known = voxel.g >= 0.5;
  float risk = voxel.r / max(voxel.g, 0.01);
  bool shown = threshold <= 0.0 || (known && risk >= threshold);
  vec3 hue = known ? texture(ramp, vec2(risk / top, 0.5)).rgb : grey;
  float alpha = kind == 0 ? (shown ? opacity : min(opacity, 0.2)) : 1.0;
  if (solid != (alpha >= 1.0)) discard;
  if (!shown) hue = mix(hue, grey, 0.85);
  if (kind == 0) hue *= 0.62 + 0.38 * facing;
  colour = vec4(hue, alpha);
}`;

function createSurface(canvas, atlas) {
  // Opaque, since a see-through canvas costs the browser more than the gland does.
  const gl = canvas.getContext("webgl2", { antialias: !isSoftware(), alpha: false });
  if (!gl) return null;
  const program = compile(gl);
  const place = (name) => gl.getUniformLocation(program, name);
  gl.useProgram(program);
  gl.uniform3fv(place("origin"), atlas.position([-0.5, -0.5, -0.5]));
  gl.uniform3fv(place("extent"), atlas.shape.map((n, axis) => n * atlas.spacing[axis]));
  gl.uniform3fv(place("grey"), atlas.grey.map((part) => part / 255));
  gl.uniform1f(place("top"), atlas.top);
  uploadTextures(gl, atlas, place);
  const gland = meshOf(gl, program, atlas.surface, { position: 3, normal: 3, value: 2 }, atlas.triangles);
  const inside = atlas.known.flatMap((at) => [...atlas.position(atlas.indexOf(at)), atlas.risk[at] / 254, 1]);
  const cloud = meshOf(gl, program, new Float32Array(inside), { position: 3, value: 2 }, new Uint32Array(0));
  const planes = [0, 1, 2].map(() => meshOf(gl, program, new Float32Array(12), { position: 3 }));
  const uniforms = Object.fromEntries(
    ["camera", "eye", "threshold", "opacity", "pixels", "kind", "solid"].map((name) => [name, place(name)]),
  );
  gl.enable(gl.DEPTH_TEST);
  gl.blendFunc(gl.SRC_ALPHA, gl.ONE_MINUS_SRC_ALPHA);

  // `state`: {threshold, opacity 0-1, planes, slices (i, j, k)}; `view`: from `cameraOf`.
  return function draw(state, view) {
    gl.viewport(0, 0, canvas.width, canvas.height);
    const ground = getComputedStyle(canvas.parentElement).backgroundColor.match(/\d+/g).map((part) => part / 255);
    gl.clearColor(ground[0], ground[1], ground[2], 1);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.uniformMatrix4fv(uniforms.camera, false, view.matrix);
    gl.uniform3fv(uniforms.eye, view.eye);
    gl.uniform1f(uniforms.threshold, state.threshold);
    gl.uniform1f(uniforms.opacity, state.opacity);
    gl.uniform1f(uniforms.pixels, view.pixelsPerMm * Math.max(...atlas.spacing));
    const pass = (kind, solid, paint) => {
      gl.uniform1i(uniforms.kind, kind);
      gl.uniform1i(uniforms.solid, solid);
      gl.depthMask(Boolean(solid));
      (solid ? gl.disable : gl.enable).call(gl, gl.BLEND);
      paint();
    };
    if (state.planes) drawPlanes(gl, atlas, planes, state.slices, pass);
    if (state.threshold > 0) {
      if (cloud.threshold !== state.threshold) choosePoints(gl, cloud, atlas.exposed(state.threshold));
      cloud.threshold = state.threshold;
      pass(2, 1, () => show(gl, cloud, gl.POINTS));
    }
    gl.enable(gl.CULL_FACE);
    if (state.opacity === 1) pass(0, 1, () => show(gl, gland, gl.TRIANGLES));
    if (state.opacity < 1 || state.threshold > 0) pass(0, 0, () => show(gl, gland, gl.TRIANGLES));
    gl.disable(gl.CULL_FACE);
    gl.depthMask(true);
  };
}

// A renderer without a graphics card: smooth edges would halve its frame rate.
function isSoftware() {
  const gl = new OffscreenCanvas(1, 1).getContext("webgl2");
  const about = gl?.getExtension("WEBGL_debug_renderer_info");
  return !gl || /swiftshader|llvmpipe|software/i.test(gl.getParameter(about ? about.UNMASKED_RENDERER_WEBGL : gl.RENDERER));
}

function drawPlanes(gl, atlas, planes, slices, pass) {
  const end = atlas.shape.map((n) => n - 0.5);
  planes.forEach((plane, axis) => {
    const [b, c] = [0, 1, 2].filter((other) => other !== axis);
    const corners = [[-0.5, -0.5], [end[b], -0.5], [end[b], end[c]], [-0.5, end[c]]].map(([u, v]) => {
      const index = [0, 0, 0];
      index[axis] = slices[axis];
      index[b] = u;
      index[c] = v;
      return atlas.position(index);
    });
    gl.bindBuffer(gl.ARRAY_BUFFER, plane.buffer);
    gl.bufferData(gl.ARRAY_BUFFER, new Float32Array(corners.flat()), gl.DYNAMIC_DRAW);
    pass(1, 1, () => show(gl, plane, gl.TRIANGLE_FAN));
    pass(3, 1, () => show(gl, plane, gl.LINE_LOOP));
  });
}

function compile(gl) {
  const program = gl.createProgram();
  for (const [type, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
    const shader = gl.createShader(type);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program));
  return program;
}

function uploadTextures(gl, atlas, place) {
  const texels = new Uint8Array(4 * atlas.size);
  for (let at = 0; at < atlas.size; at += 1) {
    const known = atlas.risk[at] !== atlas.blank;
    // 254 steps, spread to the 255 of a texture.
    texels.set(known ? [Math.round((atlas.risk[at] * 255) / 254), 255] : [0, 0], 4 * at);
    texels[4 * at + 2] = atlas.labels[at] ? 255 : 0;
  }
  const steps = Uint8Array.from({ length: 256 }, (_, n) => n).reduce((all, n) => [...all, ...atlas.mix(n / 255), 255], []);
  const upload = (unit, kind, name, send) => {
    gl.activeTexture(gl.TEXTURE0 + unit);
    gl.bindTexture(kind, gl.createTexture());
    send();
    gl.texParameteri(kind, gl.TEXTURE_MIN_FILTER, gl.LINEAR);
    gl.texParameteri(kind, gl.TEXTURE_MAG_FILTER, gl.LINEAR);
    for (const side of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T, gl.TEXTURE_WRAP_R]) gl.texParameteri(kind, side, gl.CLAMP_TO_EDGE);
    gl.uniform1i(place(name), unit);
  };
  upload(0, gl.TEXTURE_3D, "voxels", () => gl.texImage3D(gl.TEXTURE_3D, 0, gl.RGBA8, ...atlas.shape, 0, gl.RGBA, gl.UNSIGNED_BYTE, texels));
  upload(1, gl.TEXTURE_2D, "ramp", () => gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, 256, 1, 0, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(steps)));
}

// `parts`: names of the attributes that make a vertex, with their lengths.
function meshOf(gl, program, vertices, parts, triangles) {
  const array = gl.createVertexArray(), buffer = gl.createBuffer();
  const length = Object.values(parts).reduce((sum, part) => sum + part, 0);
  gl.bindVertexArray(array);
  gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
  gl.bufferData(gl.ARRAY_BUFFER, vertices, gl.STATIC_DRAW);
  let offset = 0;
  for (const [name, part] of Object.entries(parts)) {
    const attribute = gl.getAttribLocation(program, name);
    gl.enableVertexAttribArray(attribute);
    gl.vertexAttribPointer(attribute, part, gl.FLOAT, false, 4 * length, 4 * offset);
    offset += part;
  }
  if (triangles) {
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, triangles, gl.STATIC_DRAW);
  }
  return { array, buffer, indexed: Boolean(triangles), count: triangles ? triangles.length : vertices.length / length };
}

function choosePoints(gl, mesh, chosen) {
  gl.bindVertexArray(mesh.array);
  gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, chosen, gl.DYNAMIC_DRAW);
  mesh.count = chosen.length;
}

function show(gl, mesh, mode) {
  gl.bindVertexArray(mesh.array);
  if (mesh.indexed) gl.drawElements(mode, mesh.count, gl.UNSIGNED_INT, 0);
  else gl.drawArrays(mode, 0, mesh.count);
}

// The camera turns about the gland's centre: `azimuth` 0 looks from the front, 90 degrees from the patient's left.
function cameraOf(atlas, { azimuth, elevation, zoom }, width, height) {
  const from = [-Math.sin(azimuth) * Math.cos(elevation), Math.cos(azimuth) * Math.cos(elevation), Math.sin(elevation)];
  const distance = (4.1 * atlas.radius) / zoom, eye = from.map((part, axis) => atlas.centre[axis] + distance * part);
  // Unit vectors to the viewer's right and up.
  const right = [-Math.cos(azimuth), -Math.sin(azimuth), 0];
  const up = [from[1] * right[2] - from[2] * right[1], from[2] * right[0] - from[0] * right[2], from[0] * right[1] - from[1] * right[0]];
  const focus = 3.6 * Math.min(1, width / height), near = distance / 50, far = distance + 4 * atlas.radius;
  const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
  const row = (axis, scale) => [...axis.map((part) => part * scale), -dot(axis, eye) * scale];
  const depth = from.map((part) => -part);
  const rows = [
    row(right, (focus * height) / width), row(up, focus),
    row(depth, (far + near) / (far - near)).map((part, n) => part - (n === 3 ? (2 * far * near) / (far - near) : 0)),
    row(depth, 1),
  ];
  const matrix = new Float32Array(16).map((_, n) => rows[n % 4][Math.floor(n / 4)]);
  return {
    eye, matrix, pixelsPerMm: (focus * height) / 2,
    // Pixels of a position, and how far it lies from the eye.
    project(position) {
      const [x, y, , w] = rows.map((line) => dot(line, position) + line[3]);
      return { x: (0.5 + x / w / 2) * width, y: (0.5 - y / w / 2) * height, away: w };
    },
    // Direction from the eye through a pixel.
    ray(x, y) {
      const across = ((2 * x) / width - 1) * (width / height) / focus, upwards = (1 - (2 * y) / height) / focus;
      return depth.map((part, axis) => part + across * right[axis] + upwards * up[axis]);
    },
  };
}
