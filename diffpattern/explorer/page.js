// The page around the engine: what is shown, and what hands and keys do.

const byId = (id) => document.getElementById(id);

const DISPLAY = `#version 300 es
precision highp float;
precision highp int;
precision highp sampler2DArray;
uniform sampler2DArray state;
uniform sampler2DArray mask;
uniform bool masked;
uniform sampler2D colours;
uniform ivec2 extent;
uniform ivec3 mark;       // column, row, and the radius of the brush; 0: there is none
uniform bvec2 closed;     // whether x and y go round
uniform vec2 canvas;
uniform int channel;      // -1: the first ones are red, green, blue and, if four, alpha
uniform int composed;
uniform vec4 offset;      // of the colours: the data are offset + scale * number
uniform vec4 scale;
uniform vec2 range;
out vec4 colour;

// What is not finite, and what lies outside of a mask.
const vec4 GREY = vec4(vec3(150.0 / 255.0), 1.0);

void main() {
  vec2 place = gl_FragCoord.xy / canvas;
  place.y = 1.0 - place.y;
  vec2 inside = place * vec2(extent);
  ivec2 cell = min(ivec2(inside), extent - 1);
  if (channel < 0) {
    vec4 value = offset + scale * texelFetch(state, ivec3(cell, 0), 0);
    if (composed == 3) value.a = 1.0;
    float paper = 1.0 - clamp(value.a, 0.0, 1.0);
    bool finite = !any(isnan(value)) && !any(isinf(value));
    colour = finite ? vec4(clamp(value.rgb + paper, 0.0, 1.0), 1.0) : GREY;
  } else {
    float value = texelFetch(state, ivec3(cell, channel / 4), 0)[channel % 4];
    float width = range.y - range.x;
    float share = width == 0.0 ? 0.5 : clamp((value - range.x) / width, 0.0, 1.0);
    bool finite = !isnan(value) && !isinf(value);
    vec2 entry = vec2((share * 255.0 + 0.5) / 256.0, 0.5);
    colour = finite ? texture(colours, entry) : GREY;
  }
  if (masked && texelFetch(mask, ivec3(cell, 0), 0).x == 0.0) colour = GREY;
  if (mark.z > 0) {
    vec2 apart = inside - vec2(mark.xy) - 0.5, turns = floor(apart / vec2(extent) + 0.5);
    apart -= mix(vec2(0.0), turns * vec2(extent), closed);
    float away = length(apart) - float(mark.z);
    float line = max(float(extent.x) / canvas.x * 1.5, 0.15);
    if (abs(away) < line) colour = vec4(vec3(dot(colour.rgb, vec3(1.0)) > 1.5 ? 0.0 : 1.0), 1.0);
  }
}`;

function bytesOf(text) {
  const characters = atob(text), bytes = new Uint8Array(characters.length);
  for (let n = 0; n < bytes.length; n++) bytes[n] = characters.charCodeAt(n);
  return bytes;
}

// Numbers [cells, channels] that were kept as 16 bits between each channel's lowest and highest.
function unpacked({ data, low, high }) {
  const levels = new Uint16Array(bytesOf(data).buffer), channels = low.length;
  return Float32Array.from(levels, (level, n) => {
    const channel = n % channels;
    return low[channel] + ((high[channel] - low[channel]) * level) / 65535;
  });
}

// Numbers of a channel as people meet them, in the data's units, and as the rule has them.
function inUnits(value, channel) {
  return RULE.offset[channel] + RULE.scale[channel] * value;
}

function fromUnits(value, channel) {
  return (value - RULE.offset[channel]) / RULE.scale[channel];
}

// A number to three digits, as people write it, or to a thousandth of a range that is narrow for it.
function written(value, width = Infinity) {
  if (!Number.isFinite(value)) return "not finite";
  const further = Math.ceil(Math.log10(Math.abs(value) / width));
  const digits = 3 + Math.min(5, Math.max(0, further || 0));
  return String(Number(value.toPrecision(digits))).replace("-", "\u2212");
}

// Whether an axis of the lattice is closed: y is the first, x the second.
function goesRound(walls, axis) {
  return walls.kinds[2 * axis] === "circular";
}

// The ends of a range, no finer than their distance gives reason for.
function rounded([low, high]) {
  const decimals = Math.min(100, Math.max(0, 4 - Math.ceil(Math.log10(high - low))));
  return [Number(low.toFixed(decimals)), Number(high.toFixed(decimals))];
}

function counted(number, what) {
  return `${number} ${what}${number === 1 ? "" : "s"}`;
}

function normal() {
  const radius = Math.sqrt(-2 * Math.log(1 - Math.random()));
  return radius * Math.cos(2 * Math.PI * Math.random());
}

class Explorer {
  constructor(canvas) {
    this.canvas = canvas;
    this.gl = openContext(canvas);
    const rule = { ...RULE, weights: new Float32Array(bytesOf(RULE.weights).buffer) };
    this.engine = new Engine(this.gl, rule, PRELUDE);
    this.display = linkProgram(this.gl, DISPLAY);
    this.uniform = uniformsOf(this.gl, this.display);
    this.playing = true;
    this.cells = null;  // rows and columns of the lattice, if they are not the start's
    this.speed = RULE.speed;  // steps a frame, a power of 2; below 1 some frames have none
    this.due = 0;
    this.brush = { kind: "damage", radius: 5, value: 1 };
    this.view = { channel: RULE.colours ? -1 : 0, map: 0 };
    this.ranges = RULE.ranges.map((range) => [...range]);
    this.asked = null;  // the step of which the engine is to tell whether all numbers are finite
    this.unwatched = false;  // whether they have changed since
    this.lost = null;  // the step by which some were not
    this.mark = null;
    this.pointed = null;
    this.pace = { steps: 0, since: performance.now() };
    this.maps = this._makeMaps();
  }

  // Begins anew, from a start of the data that is repeated or cut to the lattice's size.
  restart() {
    const { engine } = this, start = RULE.starts[this.start];
    const [rows, columns] = this.cells || [start.rows, start.columns];
    if (rows !== engine.rows || columns !== engine.columns) engine.resize(rows, columns);
    const values = unpacked(start.values);
    const source = this._placed(start, rows, columns);
    const seen = RULE.species.length, channels = RULE.channels;
    const state = new Float32Array(rows * columns * channels);
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        const from = source(row, column), to = (row * columns + column) * channels;
        for (let n = 0; n < channels; n++) {
          state[to + n] = from < 0 || n >= seen ? RULE.erased[n] : values[from * seen + n];
        }
        if (from >= 0) this._hide(state.subarray(to, to + channels));
      }
    }
    engine.load(state);
    this.mask = null;
    for (const { name } of RULE.given) {
      if (name === "state") continue;
      const given = unpacked(start[name]);
      engine.load(given, name);
      if (name === "mask") this.mask = given;
    }
    [engine.steps, engine.time] = [0, start.time];
    engine.settings.seed = (Math.random() * 2 ** 31) | 0;
    this.pace = { steps: 0, since: performance.now() };
    this.seed = this._seedOf(start, values);
    this._forgetLoss();
    this.changed = true;
  }

  // Ranges that were fitted to numbers beyond all bounds show nothing of a new start.
  _forgetLoss() {
    if (this.lost !== null) {
      this.ranges = RULE.ranges.map((range) => [...range]);
      if (this.view.channel >= RULE.species.length) this.fit();
    }
    [this.asked, this.lost] = [null, null];
  }

  // Hidden channels of a cell that is given its species.
  _hide(cell) {
    for (let n = RULE.species.length; n < RULE.channels; n++) {
      cell[n] = RULE.hidden.alive === null ? 0 : cell[RULE.hidden.alive];
      if (RULE.hidden.noise) cell[n] += RULE.hidden.noise * normal();
    }
  }

  // Which cell of the start lies at one of the lattice, or -1: a start that stands alone is in the
  // middle, others go on along each axis, round the torus or in mirrors.
  _placed(start, rows, columns) {
    const along = (index, cells, own, axis) => {
      if (RULE.alone || cells < own) {
        const moved = index - Math.floor((cells - own) / 2);
        return moved >= 0 && moved < own ? moved : -1;
      }
      const round = index % (2 * own);
      return goesRound(RULE.walls, axis) || round < own ? round % own : 2 * own - 1 - round;
    };
    return (row, column) => {
      const y = along(row, rows, start.rows, 0), x = along(column, columns, start.columns, 1);
      return y < 0 || x < 0 ? -1 : y * start.columns + x;
    };
  }

  // The place of a start that differs most from what is common there.
  _seedOf(start, values) {
    const seen = RULE.species.length;
    let most = -1, place = 0;
    for (let cell = 0; cell < start.rows * start.columns; cell++) {
      if (this.mask && !this.mask[cell]) continue;
      let away = 0;
      for (let n = 0; n < seen; n++) {
        const width = start.values.high[n] - start.values.low[n] || 1;
        away += Math.abs(values[cell * seen + n] - RULE.erased[n]) / width;
      }
      if (away > most) [most, place] = [away, cell];
    }
    return { values, start, row: Math.floor(place / start.columns), column: place % start.columns };
  }

  // Uses the brush at a cell; on a torus it goes on at the other side.
  paint(row, column) {
    const { rows, columns, settings } = this.engine;
    const turns = (axis, cells) => (goesRound(settings.walls, axis) ? [-cells, 0, cells] : [0]);
    for (const down of turns(0, rows)) {
      for (const right of turns(1, columns)) this._paintDisc(row + down, column + right);
    }
    this.changed = true;
  }

  // The part of the brush that lies on the lattice.
  _paintDisc(row, column) {
    const { engine, brush } = this;
    const reach = Math.ceil(brush.radius), box = (centre, cells) => {
      const first = Math.max(0, centre - reach);
      return [first, Math.min(cells, centre + reach + 1) - first];
    };
    const [top, rows] = box(row, engine.rows), [left, columns] = box(column, engine.columns);
    if (rows <= 0 || columns <= 0) return;
    const channel = Math.max(0, this.view.channel);
    engine.edit(left, top, columns, rows, (cell, y, x) => {
      if ((y - row) ** 2 + (x - column) ** 2 > brush.radius ** 2) return;
      if (this.mask && !this.mask[y * engine.columns + x]) return;
      if (brush.kind === "damage") cell.set(RULE.erased);
      else if (brush.kind === "paint") this._paintCell(cell, channel);
      else this._seedCell(cell, y - row, x - column);
    });
  }

  _paintCell(cell, channel) {
    const { value } = this.brush, [low, high] = this.ranges[channel];
    if (this.view.channel >= 0) cell[channel] = fromUnits(low + (high - low) * value, channel);
    else RULE.species.forEach((_, n) => { cell[n] = fromUnits(value, n); });
  }

  _seedCell(cell, down, right) {
    const { values, start, row, column } = this.seed, seen = RULE.species.length;
    const within = (place, cells, axis) =>
      goesRound(RULE.walls, axis) ? (place + cells) % cells : place;
    const y = within(row + down, start.rows, 0), x = within(column + right, start.columns, 1);
    if (y < 0 || x < 0 || y >= start.rows || x >= start.columns) return;
    if (this.mask && !this.mask[y * start.columns + x]) return;
    for (let n = 0; n < seen; n++) cell[n] = values[(y * start.columns + x) * seen + n];
    this._hide(cell);
  }

  // The brush along a line from one cell to another.
  stroke(from, to) {
    const length = Math.hypot(to.row - from.row, to.column - from.column);
    const stops = Math.max(1, Math.ceil(length / Math.max(1, this.brush.radius / 2)));
    for (let n = 1; n <= stops; n++) {
      const share = n / stops;
      this.paint(
        Math.round(from.row + share * (to.row - from.row)),
        Math.round(from.column + share * (to.column - from.column)));
    }
  }

  step(count = 1) {
    this.engine.step(count);
    this.changed = true;
  }

  // Sets the colours' range to what a channel holds now, if any of it is finite.
  fit() {
    const values = this.engine.read(), channels = RULE.channels;
    const channel = Math.max(0, this.view.channel);
    let low = Infinity, high = -Infinity;
    for (let cell = 0; cell < values.length / channels; cell++) {
      const value = inUnits(values[cell * channels + channel], channel);
      if (!Number.isFinite(value) || (this.mask && !this.mask[cell])) continue;
      [low, high] = [Math.min(low, value), Math.max(high, value)];
    }
    if (low > high) return;
    this.ranges[channel] = rounded(low < high ? [low, high] : [low - 0.5, low + 0.5]);
    this.changed = true;
  }

  // One frame: steps, if the last ones are done, and the picture.
  frame() {
    const { gl } = this;
    const busy = this.fence && gl.clientWaitSync(this.fence, 0, 0) === gl.TIMEOUT_EXPIRED;
    if (busy) return;
    this._watch();
    if (this.playing) {
      this.due += this.speed;
      const steps = Math.floor(this.due);
      this.due -= steps;
      if (steps > 0) this.step(steps);
    }
    if (this.changed || this.drawnMark !== this.mark) {
      this.draw();
      this.unwatched ||= this.changed;
      this.changed = false;
      this.drawnMark = this.mark;
    }
    if (this.fence) gl.deleteSync(this.fence);
    this.fence = gl.fenceSync(gl.SYNC_GPU_COMMANDS_COMPLETE, 0);
    gl.flush();
  }

  // Hears whether all numbers were finite, and asks anew once they have changed.
  _watch() {
    const { engine } = this, finite = this.asked === null ? null : engine.heard();
    if (finite !== null) {
      this.lost = finite ? null : this.lost ?? this.asked;
      this.asked = null;
    }
    if (this.unwatched && this.asked === null) {
      engine.ask();
      this.asked = engine.steps;
      this.unwatched = false;
    }
  }

  draw() {
    const { gl, canvas, engine, view, uniform } = this;
    const width = Math.round(canvas.clientWidth * Math.min(window.devicePixelRatio, 2)) || 1;
    const height = Math.round((width * engine.rows) / engine.columns);
    if (canvas.width !== width || canvas.height !== height) {
      [canvas.width, canvas.height] = [width, height];
    }
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    gl.viewport(0, 0, width, height);
    gl.useProgram(this.display);
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_2D_ARRAY, engine.textures.state);
    gl.uniform1i(uniform("state"), 0);
    gl.activeTexture(gl.TEXTURE1);
    gl.bindTexture(gl.TEXTURE_2D, this.maps[view.map]);
    gl.uniform1i(uniform("colours"), 1);
    gl.activeTexture(gl.TEXTURE2);
    gl.bindTexture(gl.TEXTURE_2D_ARRAY, engine.textures.mask || engine.textures.state);
    gl.uniform1i(uniform("mask"), 2);
    gl.uniform1i(uniform("masked"), this.mask ? 1 : 0);
    gl.activeTexture(gl.TEXTURE0);
    gl.uniform2i(uniform("extent"), engine.columns, engine.rows);
    gl.uniform2f(uniform("canvas"), width, height);
    gl.uniform1i(uniform("channel"), view.channel);
    gl.uniform1i(uniform("composed"), RULE.colours);
    const four = (numbers, last) => [...numbers, last, last].slice(0, 4);
    gl.uniform4f(uniform("offset"), ...four(RULE.offset, 0));
    gl.uniform4f(uniform("scale"), ...four(RULE.scale, 1));
    const channel = Math.max(0, view.channel);
    const ends = this.ranges[channel].map((end) => fromUnits(end, channel));
    gl.uniform2f(uniform("range"), ...ends);
    const { column, row } = this.mark || { column: 0, row: 0 };
    gl.uniform2i(uniform("closed"), ...[1, 0].map((axis) => goesRound(engine.settings.walls, axis)));
    gl.uniform3i(uniform("mark"), column, row, this.mark ? this.brush.radius : 0);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }

  _makeMaps() {
    const { gl } = this;
    return RULE.maps.map(({ data }) => {
      const texture = gl.createTexture();
      gl.bindTexture(gl.TEXTURE_2D, texture);
      gl.texImage2D(
        gl.TEXTURE_2D, 0, gl.RGB8, 256, 1, 0, gl.RGB, gl.UNSIGNED_BYTE, bytesOf(data));
      gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
      gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
      gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE);
      gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
      return texture;
    });
  }
}

// ---- Controls -----------------------------------------------------------------------------------

const WALLS = {
  circular: "torus", symmetric: "mirror (no flux)", replicate: "open end", zero: "zero outside",
  value: "given value", flux: "given flux",
};
// Those that need no numbers.
const PLAIN_WALLS = ["circular", "symmetric", "replicate", "zero"];

// The walls of the run, in words.
function trainedWalls() {
  const [top, bottom, left, right] = RULE.walls.kinds.map((kind) => WALLS[kind]);
  const pair = (names, first, second) =>
    first === second ? `${names.join(" and ")} ${first}`
      : `${names[0]} ${first}, ${names[1]} ${second}`;
  if (new Set(RULE.walls.kinds).size === 1) return `Trained with: ${top}`;
  const rows = pair(["top", "bottom"], top, bottom), columns = pair(["left", "right"], left, right);
  return `Trained with: ${rows}; ${columns}`;
}

// The kinds that differ from those of the run.
function otherWalls() {
  const [first, ...rest] = RULE.walls.kinds;
  return PLAIN_WALLS.filter((kind) => kind !== first || rest.some((other) => other !== first));
}

// Steps a frame in words.
function paceOf(speed) {
  return speed < 1 ? `1 step every ${1 / speed} frames` : `${counted(speed, "step")} a frame`;
}

function fillSelect(select, names, chosen = 0) {
  const option = (name, n) => new Option(name, n, n === chosen, n === chosen);
  select.replaceChildren(...names.map(option));
}

function connect(explorer) {
  const { engine } = explorer;
  const names = RULE.species.concat(
    Array.from({ length: RULE.channels - RULE.species.length }, (_, n) => `hidden ${n + 1}`));
  const views = RULE.colours ? ["colours", ...names] : names;
  const first = RULE.colours ? -1 : 0;

  fillSelect(byId("channel"), views);
  fillSelect(byId("colours"), RULE.maps.map(({ name }) => name));
  fillSelect(byId("start"), RULE.starts.map(({ name }) => name));
  const wallKinds = [null, ...otherWalls()];
  fillSelect(byId("walls"), wallKinds.map((kind) => WALLS[kind] || "as trained"));
  byId("wallsTold").textContent = trainedWalls();

  // All starts are of one size, which is there already.
  const { rows, columns } = RULE.starts[0];
  const others = RULE.sizes.filter((cells) => cells !== rows || cells !== columns);
  const sizes = [[rows, columns], ...others.map((cells) => [cells, cells])];
  const sizeNames = sizes.map((cells) => cells.join(" \u00d7 "));
  fillSelect(byId("size"), sizeNames.map((name, n) => (n ? name : `${name} (data)`)));
  byId("size").disabled = sizes.length < 2;
  byId("sizeTold").hidden = sizes.length > 1;

  // What the controls show of the state of things.
  const show = () => {
    const channel = Math.max(0, explorer.view.channel), [low, high] = explorer.ranges[channel];
    for (const part of [byId("scale"), ...document.querySelectorAll("[data-of=scale]")]) {
      part.hidden = explorer.view.channel < 0;
    }
    byId("low").textContent = written(low, high - low);
    byId("high").textContent = written(high, high - low);
    byId("lowest").value = low;
    byId("highest").value = high;
    byId("radiusShown").textContent = counted(explorer.brush.radius, "cell");
    byId("radius").value = explorer.brush.radius;
    byId("paintLine").hidden = explorer.brush.kind !== "paint";
    const painted = explorer.view.channel < 0
      ? explorer.brush.value : low + (high - low) * explorer.brush.value;
    byId("paintShown").textContent =
      `${views[explorer.view.channel - first]} = ${written(painted, high - low)}`;
    byId("speedShown").textContent = paceOf(explorer.speed);
    byId("speed").value = Math.log2(explorer.speed);
    byId("stepSizeShown").textContent = written(engine.settings.stepSize);
    byId("fireRateShown").textContent = written(engine.settings.fireRate);
    byId("channel").value = explorer.view.channel - first;
    byId("colours").value = explorer.view.map;
    byId("size").value = sizes.indexOf(explorer.cells || sizes[0]);
    byId("play").textContent = explorer.playing ? "Pause" : "Run";
    byId("play").setAttribute("aria-pressed", explorer.playing);
    document.querySelector(`[name=brush][value=${explorer.brush.kind}]`).checked = true;
    const bar = byId("bar").getContext("2d"), map = bytesOf(RULE.maps[explorer.view.map].data);
    for (let n = 0; n < 256; n++) {
      bar.fillStyle = `rgb(${map[3 * n]}, ${map[3 * n + 1]}, ${map[3 * n + 2]})`;
      bar.fillRect(n, 0, 1, 1);
    }
    explorer.changed = true;
  };

  const actions = {
    play: () => { explorer.playing = !explorer.playing; },
    once: () => { explorer.playing = false; explorer.step(); },
    restart: () => explorer.restart(),
    fit: () => explorer.fit(),
    channel: (value) => {
      explorer.view.channel = Number(value) + first;
      if (explorer.view.channel >= RULE.species.length) explorer.fit();
    },
    colours: (value) => { explorer.view.map = Number(value); },
    start: (value) => { explorer.start = Number(value); explorer.restart(); },
    size: (value) => { explorer.cells = sizes[value]; explorer.restart(); },
    walls: (value) => {
      const kind = wallKinds[value];
      engine.settings.walls = kind ? plainWalls(kind) : RULE.walls;
    },
    radius: (value) => { explorer.brush.radius = Math.min(24, Math.max(1, Number(value))); },
    paint: (value) => { explorer.brush.value = Number(value); },
    brush: (value) => { explorer.brush.kind = value; },
    speed: (value) => { explorer.speed = 2 ** Math.min(7, Math.max(-4, Number(value))); },
    stepSize: (value) => { engine.settings.stepSize = RULE.stepSize * Number(value); },
    fireRate: (value) => { engine.settings.fireRate = Number(value); },
    lowest: (value) => { setRange(0, value); },
    highest: (value) => { setRange(1, value); },
  };
  const setRange = (end, value) => {
    const channel = Math.max(0, explorer.view.channel);
    if (value !== "" && Number.isFinite(Number(value))) {
      explorer.ranges[channel][end] = Number(value);
    }
  };
  const act = (name, value) => { actions[name](value); show(); };
  explorer.act = act;

  for (const id of ["play", "once", "restart", "fit"]) {
    byId(id).addEventListener("click", () => act(id));
  }
  // A number that is being typed counts once it is whole: with Enter, or when its field is left.
  for (const kind of ["input", "change"]) {
    byId("controls").addEventListener(kind, ({ target }) => {
      const name = target.name || target.id;
      const whole = target.type === "number" ? "change" : "input";
      if (name in actions && kind === whole) act(name, target.value);
    });
  }
  byId("controls").addEventListener("submit", (event) => event.preventDefault());

  byId("fireLine").hidden = RULE.kind !== "automaton";
  byId("fireRate").value = engine.settings.fireRate;
  byId("inputs").replaceChildren(...RULE.inputs.map((value, n) => {
    const label = document.createElement("label"), field = document.createElement("input");
    Object.assign(field, { type: "number", step: "any", value });
    field.addEventListener("input", () => {
      engine.settings.inputs[n] = Number(field.value) || 0;
    });
    label.append(`Input ${n + 1} `, field);
    return label;
  }));
  connectHands(explorer);
  connectKeys(explorer, act, views.length);
  show();
}

function plainWalls(kind) {
  const none = [new Array(RULE.channels).fill(0)];
  const four = (one) => [one, one, one, one];
  return { kinds: four(kind), values: four(none), times: four([]) };
}

// Mouse, pen and fingers on the lattice.
function connectHands(explorer) {
  const { canvas, engine } = explorer;
  let last = null;
  const cellAt = (event) => {
    const box = canvas.getBoundingClientRect();
    return {
      column: Math.floor(((event.clientX - box.left) / box.width) * engine.columns),
      row: Math.floor(((event.clientY - box.top) / box.height) * engine.rows),
    };
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    last = cellAt(event);
    explorer.stroke(last, last);
  });
  canvas.addEventListener("pointermove", (event) => {
    const here = cellAt(event);
    explorer.mark = explorer.pointed = here;
    if (last) {
      explorer.stroke(last, here);
      last = here;
    }
  });
  for (const kind of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(kind, () => { last = null; });
  }
  for (const kind of ["pointerleave", "blur"]) {
    canvas.addEventListener(kind, () => { explorer.mark = explorer.pointed = null; });
  }
}

function connectKeys(explorer, act, views) {
  const { canvas, engine } = explorer;
  const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  const channelAfter = () => (Number(byId("channel").value) + 1) % views;
  const keys = {
    " ": () => act("play"), ".": () => act("once"), r: () => act("restart"), f: () => act("fit"),
    d: () => act("brush", "damage"), p: () => act("brush", "paint"), s: () => act("brush", "seed"),
    "[": () => act("radius", explorer.brush.radius - 1),
    "]": () => act("radius", explorer.brush.radius + 1),
    c: () => act("channel", channelAfter()),
    "-": () => act("speed", Math.log2(explorer.speed) - 1),
    "+": () => act("speed", Math.log2(explorer.speed) + 1),
  };
  canvas.addEventListener("keydown", (event) => {
    const mark = explorer.mark ||
      { row: engine.rows >> 1, column: engine.columns >> 1 };
    if (event.key in moves) {
      const [down, right] = moves[event.key], stride = event.shiftKey ? 8 : 1;
      const within = (place, cells, axis) =>
        goesRound(engine.settings.walls, axis) ? (place + cells) % cells
          : Math.min(cells - 1, Math.max(0, place));
      explorer.mark = explorer.pointed = {
        row: within(mark.row + stride * down, engine.rows, 0),
        column: within(mark.column + stride * right, engine.columns, 1),
      };
    } else if (event.key === "Enter") {
      explorer.mark = mark;
      explorer.paint(mark.row, mark.column);
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  });
  document.addEventListener("keydown", (event) => {
    // Fields and buttons keep the keys that they use themselves.
    const busy = event.target.closest("input[type=number], select") ||
      (event.key === " " && event.target.closest("button, input"));
    const key = event.key === "=" ? "+" : event.key.toLowerCase();
    if (busy || event.ctrlKey || event.metaKey || event.altKey || !(key in keys)) return;
    keys[key]();
    event.preventDefault();
  });
}

// Time, pace and the numbers under the pointer, a few times a second.
function tell(explorer) {
  const { engine, pace } = explorer, now = performance.now();
  const unit = RULE.timeUnit && ` ${RULE.timeUnit}`;
  byId("clock").textContent = `t = ${written(engine.time)}${unit}, step ${engine.steps}`;
  const elapsed = now - pace.since;
  // Slow ones are counted for longer, so that whole steps tell.
  if (elapsed > 900 && (engine.steps - pace.steps >= 10 || elapsed > 3000)) {
    const rate = Number((((engine.steps - pace.steps) * 1000) / elapsed).toPrecision(2));
    byId("rate").textContent = `${counted(rate, "step")} a second`;
    explorer.pace = { steps: engine.steps, since: now };
  }
  if (!explorer.playing) {
    byId("rate").textContent = "";
    explorer.pace = { steps: engine.steps, since: now };
  }
  byId("lost").hidden = explorer.lost === null;
  byId("lost").textContent =
    `By step ${explorer.lost} the rule had left the finite numbers. Take a smaller step, or restart.`;
  const { pointed } = explorer;
  if (!pointed || pointed.row < 0 || pointed.column < 0 || pointed.row >= engine.rows ||
      pointed.column >= engine.columns) {
    byId("under").textContent = "\u00a0";
    return;
  }
  const where = `row ${pointed.row}, column ${pointed.column}`;
  if (explorer.mask && !explorer.mask[pointed.row * engine.columns + pointed.column]) {
    byId("under").textContent = `${where}: outside of the mask`;
    return;
  }
  const values = engine.read(pointed.column, pointed.row, 1, 1);
  const reading = (name, n) => {
    const [low, high] = explorer.ranges[n];
    return `${name} ${written(inUnits(values[n], n), Math.abs(high - low))}`;
  };
  const seen = RULE.species.map(reading), hidden = explorer.view.channel - RULE.species.length;
  if (hidden >= 0) seen.push(reading(`hidden ${hidden + 1}`, explorer.view.channel));
  byId("under").textContent = `${where}: ${seen.join(", ")}`;
}

function complain(text) {
  byId("trouble").textContent = text;
  byId("trouble").hidden = false;
}

function run() {
  const canvas = byId("lattice");
  let explorer;
  try {
    explorer = new Explorer(canvas);
  } catch (error) {
    complain(error.message);
    for (const part of document.querySelectorAll(".stage, .controls")) part.hidden = true;
    byId("explorer").classList.add("still");
    if (!(error instanceof Unsupported)) throw error;
    return;
  }
  canvas.addEventListener("webglcontextlost", () => {
    complain("The graphics driver has let go of this page; reload it to go on.");
    explorer.playing = false;
  });
  explorer.start = 0;
  explorer.restart();
  connect(explorer);
  // Those who ask for less motion start it themselves.
  if (window.matchMedia("(prefers-reduced-motion: reduce)").matches) explorer.act("play");
  window.explorer = explorer;
  window.addEventListener("resize", () => { explorer.changed = true; });
  const frame = () => {
    if (!explorer.gl.isContextLost()) explorer.frame();
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
  setInterval(() => tell(explorer), 200);
}

run();
