// The 3D view of a report: no library, no network. Coordinates are x, y, z, as parts of the longest axis.
(() => {
  const box = document.getElementById("solid"), canvas = box.querySelector("canvas");
  const gl = canvas.getContext("webgl2", { antialias: true });
  if (!gl) return; // the pictures from three sides stay
  const content = JSON.parse(document.getElementById("solid-content").textContent);
  const longest = Math.max(...content.shape), size = content.shape.map((n) => n / longest);
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer;
  const coordinates = (text) => Float32Array.from(new Uint16Array(bytes(text)), (n) => (1.5 * n) / 65535 - 0.25); // tubes may leave the tomogram

  const program = (vertex, fragment) => {
    const made = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, `#version 300 es\nprecision highp float;\n${source}`);
      gl.compileShader(shader);
      gl.attachShader(made, shader);
    }
    ["place", "normal", "pale"].forEach((name, index) => gl.bindAttribLocation(made, index, name));
    gl.linkProgram(made);
    return made;
  };
  // turn: rows are right, down and away from the viewer
  const seen = "uniform mat3 turn; uniform vec3 middle, scale; uniform vec2 shift; vec4 seen(vec3 at) { vec3 q = turn * (at - middle); return vec4(q.xy * scale.xy + shift, q.z * scale.z, 1.0); }";
  const solid = program(
    `in vec3 place, normal; in float pale; ${seen} out vec3 facing; out float paleness; void main() { gl_Position = seen(place); facing = turn * normal; paleness = pale; }`,
    "in vec3 facing; in float paleness; uniform vec3 colour; out vec4 shown; void main() { float light = 0.25 + 0.75 * abs(normalize(facing).z); shown = vec4(mix(colour, vec3(1.0), 0.6 * paleness) * light, 1.0); }",
  );
  const ball = program(
    `in vec3 place; ${seen} uniform float radius, pixels; void main() { gl_Position = seen(place); gl_PointSize = 2.0 * radius * pixels; }`,
    "uniform vec3 colour; uniform float radius, depth; out vec4 shown; void main() { vec2 at = 2.0 * gl_PointCoord - 1.0; float rest = 1.0 - dot(at, at); if (rest < 0.0) discard; gl_FragDepth = gl_FragCoord.z - 0.5 * depth * radius * sqrt(rest); shown = vec4(colour * (0.25 + 0.75 * sqrt(rest)), 1.0); }",
  );

  const array = (attribute, data, n) => {
    gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ARRAY_BUFFER, data, gl.STATIC_DRAW);
    gl.enableVertexAttribArray(attribute);
    gl.vertexAttribPointer(attribute, n, gl.FLOAT, false, 0, 0);
  };
  const indices = (data) => {
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, data, gl.STATIC_DRAW);
  };
  const normals = (at, faces) => {
    const sum = new Float32Array(at.length);
    for (let i = 0; i < faces.length; i += 3) {
      const [a, b, c] = [3 * faces[i], 3 * faces[i + 1], 3 * faces[i + 2]];
      const u = [0, 1, 2].map((k) => at[b + k] - at[a + k]), v = [0, 1, 2].map((k) => at[c + k] - at[a + k]);
      for (let k = 0; k < 3; k++) {
        const n = u[(k + 1) % 3] * v[(k + 2) % 3] - u[(k + 2) % 3] * v[(k + 1) % 3];
        for (const corner of [a, b, c]) sum[corner + k] += n * 1e6;
      }
    }
    return sum;
  };
  const parts = [];
  const made = (part) => { gl.bindVertexArray((part.arrays = gl.createVertexArray())); parts.push(part); };
  for (const each of content.surfaces) {
    const at = coordinates(each.points), faces = new (each.bytes === 2 ? Uint16Array : Uint32Array)(bytes(each.faces));
    const bits = each.inferred ? new Uint8Array(bytes(each.inferred)) : null;
    made({ kind: each.kind, rgb: each.rgb, n: faces.length, type: each.bytes === 2 ? gl.UNSIGNED_SHORT : gl.UNSIGNED_INT, as: gl.TRIANGLES });
    array(0, at, 3);
    array(1, normals(at, faces), 3);
    array(2, Float32Array.from({ length: at.length / 3 }, (_, i) => (bits ? (bits[i >> 3] >> (i & 7)) & 1 : 0)), 1);
    indices(faces);
  }
  for (const each of content.balls) {
    const at = coordinates(each.points);
    made({ kind: each.kind, rgb: each.rgb, n: at.length / 3, radius: each.radius / longest, as: gl.POINTS });
    array(0, at, 3);
  }
  // the edges of the tomogram
  const corners = [0, 1, 2, 3, 4, 5, 6, 7].flatMap((i) => [0, 1, 2].map((k) => ((i >> k) & 1) * size[k]));
  const edges = [0, 1, 2, 3, 4, 5, 6, 7].flatMap((i) => [1, 2, 4].filter((bit) => !(i & bit)).flatMap((bit) => [i, i | bit]));
  made({ kind: null, rgb: [0.45, 0.5, 0.55], n: edges.length, type: gl.UNSIGNED_SHORT, as: gl.LINES });
  array(0, new Float32Array(corners), 3);
  array(1, new Float32Array(24).fill(1), 3);
  array(2, new Float32Array(8), 1);
  indices(Uint16Array.from(edges));

  const times = (a, b) => a.map((row) => [0, 1, 2].map((k) => row[0] * b[0][k] + row[1] * b[1][k] + row[2] * b[2][k]));
  const about = (axis, angle) => {
    const c = Math.cos(angle), s = Math.sin(angle), [i, j] = [(axis + 1) % 3, (axis + 2) % 3];
    const turn = [[1, 0, 0], [0, 1, 0], [0, 0, 1]];
    turn[i][i] = turn[j][j] = c;
    turn[i][j] = -s;
    turn[j][i] = s;
    return turn;
  };
  const sides = { z: [[1, 0, 0], [0, 1, 0], [0, 0, 1]], y: [[1, 0, 0], [0, 0, 1], [0, -1, 0]], x: [[0, 0, 1], [0, 1, 0], [-1, 0, 0]] };
  sides.tilted = times(about(0, 0.75), about(2, 0.35));
  const hidden = new Set();
  let start = sides.tilted, turn = start, zoom = 1, shift = [0, 0], isDue = false;

  const draw = () => {
    isDue = false;
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight].map((n) => Math.max(1, Math.round(n * ratio)));
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    gl.viewport(0, 0, width, height);
    gl.clearColor(0.03, 0.05, 0.07, 1);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.enable(gl.DEPTH_TEST);
    const extent = [0, 1].map((row) => size.reduce((sum, n, k) => sum + n * Math.abs(start[row][k]), 0));
    const pixels = 0.95 * zoom * Math.min(width / extent[0], height / extent[1]); // for the longest axis
    const depth = 1 / Math.hypot(...size);
    for (const part of parts) {
      if (hidden.has(part.kind)) continue;
      const used = part.as === gl.POINTS ? ball : solid, set = (name) => gl.getUniformLocation(used, name);
      gl.useProgram(used);
      gl.uniformMatrix3fv(set("turn"), true, turn.flat());
      gl.uniform3fv(set("middle"), size.map((n) => n / 2));
      gl.uniform3f(set("scale"), (2 * pixels) / width, (-2 * pixels) / height, depth);
      gl.uniform2f(set("shift"), (2 * shift[0] * ratio) / width, (-2 * shift[1] * ratio) / height);
      gl.uniform3fv(set("colour"), part.rgb);
      gl.bindVertexArray(part.arrays);
      if (part.as === gl.POINTS) {
        gl.uniform1f(set("radius"), part.radius);
        gl.uniform1f(set("pixels"), pixels);
        gl.uniform1f(set("depth"), depth);
        gl.drawArrays(gl.POINTS, 0, part.n);
      } else gl.drawElements(part.as, part.n, part.type, 0);
    }
  };
  const redraw = () => {
    if (!isDue) requestAnimationFrame(draw);
    isDue = true;
  };
  const rotate = (right, down) => { turn = times(times(about(1, right), about(0, down)), turn); redraw(); };
  const enlarge = (factor) => { zoom = Math.min(20, Math.max(0.3, zoom * factor)); redraw(); };

  const pointers = new Map();
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, event);
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, (event) => pointers.delete(event.pointerId));
  canvas.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    const [dx, dy] = [event.clientX - before.clientX, event.clientY - before.clientY];
    const others = [...pointers.values()].filter((each) => each.pointerId !== event.pointerId);
    pointers.set(event.pointerId, event);
    if (others.length) {
      const apart = (each) => Math.hypot(each.clientX - others[0].clientX, each.clientY - others[0].clientY);
      enlarge(Math.max(apart(event), 1) / Math.max(apart(before), 1));
    } else if (event.shiftKey) {
      shift = [shift[0] + dx, shift[1] + dy];
      redraw();
    } else rotate(-dx / 150, dy / 150);
  });
  // the wheel alone scrolls the page; a pinch on a touchpad comes as a wheel with Ctrl
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    enlarge(Math.exp(-event.deltaY / 200));
  }, { passive: false });
  const keys = { ArrowLeft: [0.1, 0], ArrowRight: [-0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] };
  canvas.addEventListener("keydown", (event) => {
    if (keys[event.key]) rotate(...keys[event.key]);
    else if (event.key === "+" || event.key === "=") enlarge(1.2);
    else if (event.key === "-") enlarge(1 / 1.2);
    else return;
    event.preventDefault();
  });
  for (const button of box.querySelectorAll("[data-side]")) {
    button.addEventListener("click", () => { start = turn = sides[button.dataset.side]; zoom = 1; shift = [0, 0]; redraw(); });
  }
  for (const check of box.querySelectorAll("[data-kind]")) {
    check.addEventListener("change", () => { hidden[check.checked ? "delete" : "add"](check.dataset.kind); redraw(); });
  }
  canvas.addEventListener("webglcontextlost", () => document.body.classList.remove("has-solid"));
  document.body.classList.add("has-solid");
  new ResizeObserver(redraw).observe(canvas);
  redraw();
})();
