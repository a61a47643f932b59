// Runs a rule's passes on WebGL2. Lattices are [rows, columns, channels] outside, textures of four
// channels a layer inside; rows are the textures' y.

const KINDS = { circular: 0, zero: 1, value: 1, symmetric: 2, replicate: 3, flux: 4 };
const AS_COEFFICIENT = { 0: 0, 1: 3, 2: 2, 3: 3, 4: 2 };
const WEIGHTS_WIDTH = 1024;

const VERTICES = `#version 300 es
void main() {
  gl_Position = vec4(vec2(gl_VertexID & 1, gl_VertexID >> 1) * 4.0 - 1.0, 0.0, 1.0);
}`;

// Draws the cells of which a number is not finite, and no others.
const LOST = `#version 300 es
precision highp float;
precision highp int;
precision highp sampler2DArray;
uniform sampler2DArray state;
uniform int layers;
out vec4 drawn;

const uvec4 EXPONENT = uvec4(0x7f800000u);

void main() {
  drawn = vec4(1.0);
  for (int layer = 0; layer < layers; layer++) {
    uvec4 bits = floatBitsToUint(texelFetch(state, ivec3(gl_FragCoord.xy, layer), 0));
    if (any(equal(bits & EXPONENT, EXPONENT))) return;
  }
  discard;
}`;

class Unsupported extends Error {}

// A context of WebGL2 that can write numbers of single precision.
function openContext(canvas) {
  const gl = canvas.getContext("webgl2", { antialias: false, preserveDrawingBuffer: true });
  if (!gl) {
    throw new Unsupported(
      "This browser has no WebGL2, which the rule runs on; a recent Firefox, Chrome, Edge or " +
        "Safari has, unless its graphics acceleration is turned off.");
  }
  if (!gl.getExtension("EXT_color_buffer_float")) {
    throw new Unsupported(
      "This device cannot write float textures (EXT_color_buffer_float), in which the rule's " +
        "numbers would lie; another browser or device may.");
  }
  return gl;
}

function linkProgram(gl, fragment) {
  const program = gl.createProgram();
  const shaders = [[gl.VERTEX_SHADER, VERTICES], [gl.FRAGMENT_SHADER, fragment]];
  for (const [kind, source] of shaders) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS) && !gl.isContextLost()) {
    const logs = gl.getAttachedShaders(program).map((shader) => gl.getShaderInfoLog(shader));
    throw new Error(`A shader of the rule does not compile: ${logs.join(" ")}`);
  }
  return program;
}

// The places of a program's uniforms, asked for once.
function uniformsOf(gl, program) {
  const places = new Map();
  return (name) => {
    if (!places.has(name)) places.set(name, gl.getUniformLocation(program, name));
    return places.get(name);
  };
}

class Engine {
  // rule: the passes and what they need, as the page has it; see page.py.
  constructor(gl, rule, prelude) {
    this.gl = gl;
    this.rule = rule;
    this.layers = Math.ceil(rule.channels / 4);
    this.settings = {
      stepSize: rule.stepSize, fireRate: rule.fireRate, inputs: rule.inputs, seed: 1,
      walls: rule.walls,
    };
    this.time = 0;
    this.steps = 0;
    this._holdWeights();
    this.prelude = prelude;
    this.compiled = new Map();
    this.frame = gl.createFramebuffer();
    this._passes();
    const census = linkProgram(gl, LOST);
    this.census = { program: census, uniform: uniformsOf(gl, census), query: gl.createQuery() };
  }

  // Makes room for lattices of another size; all are zero then.
  resize(rows, columns) {
    const gl = this.gl;
    for (const texture of Object.values(this.textures || {})) gl.deleteTexture(texture);
    [this.rows, this.columns] = [rows, columns];
    const allocate = (channels, scale) => {
      const texture = gl.createTexture();
      gl.bindTexture(gl.TEXTURE_2D_ARRAY, texture);
      const layers = Math.ceil(channels / 4);
      gl.texStorage3D(
        gl.TEXTURE_2D_ARRAY, 1, gl.RGBA32F, columns / scale, rows / scale, layers);
      gl.texParameteri(gl.TEXTURE_2D_ARRAY, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
      gl.texParameteri(gl.TEXTURE_2D_ARRAY, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
      return texture;
    };
    this.textures = { next: allocate(this.rule.channels, 1) };
    for (const { name, channels } of this.rule.given) {
      this.textures[name] = allocate(channels, 1);
    }
    for (const { writes } of this.rule.passes) {
      if (writes.name !== "state") {
        this.textures[writes.name] = allocate(writes.channels, writes.scale);
      }
    }
  }

  // Puts numbers [rows, columns, channels] into a given lattice.
  load(values, name = "state") {
    this._write(values, 0, 0, this.columns, this.rows, name);
  }

  // The state [rows, columns, channels] of a part of the lattice, by default of all of it.
  read(left = 0, top = 0, columns = this.columns, rows = this.rows) {
    const gl = this.gl, channels = this.rule.channels;
    const values = new Float32Array(rows * columns * channels);
    const layer = new Float32Array(4 * rows * columns);
    for (let first = 0; first < channels; first += 4) {
      this._drawInto(this.textures.state, [first / 4]);
      gl.readPixels(left, top, columns, rows, gl.RGBA, gl.FLOAT, layer);
      const count = Math.min(4, channels - first);
      for (let cell = 0; cell < rows * columns; cell++) {
        for (let n = 0; n < count; n++) {
          values[cell * channels + first + n] = layer[4 * cell + n];
        }
      }
    }
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    return values;
  }

  // Has the graphics card look whether all numbers of the state are finite; `heard` tells.
  ask() {
    const gl = this.gl, { program, uniform, query } = this.census;
    gl.useProgram(program);
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_2D_ARRAY, this.textures.state);
    gl.uniform1i(uniform("state"), 0);
    gl.uniform1i(uniform("layers"), this.layers);
    // What is drawn counts, not where: the next state is not begun.
    this._drawInto(this.textures.next, [0]);
    gl.viewport(0, 0, this.columns, this.rows);
    gl.beginQuery(gl.ANY_SAMPLES_PASSED, query);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
    gl.endQuery(gl.ANY_SAMPLES_PASSED);
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
  }

  // Whether all numbers were finite as `ask` was called; null: that is not known yet.
  heard() {
    const gl = this.gl, { query } = this.census;
    if (!gl.getQueryParameter(query, gl.QUERY_RESULT_AVAILABLE)) return null;
    return !gl.getQueryParameter(query, gl.QUERY_RESULT);
  }

  // Changes the cells of a rectangle in place: change(values of the cell, row, column).
  edit(left, top, columns, rows, change) {
    const channels = this.rule.channels;
    const values = this.read(left, top, columns, rows);
    for (let cell = 0; cell < rows * columns; cell++) {
      const row = top + Math.floor(cell / columns), column = left + (cell % columns);
      change(values.subarray(cell * channels, (cell + 1) * channels), row, column);
    }
    this._write(values, left, top, columns, rows);
  }

  step(count = 1) {
    const passes = this._passes();
    for (let n = 0; n < count; n++) {
      for (const pass of passes) this._run(pass);
      [this.textures.state, this.textures.next] = [this.textures.next, this.textures.state];
      this.steps += 1;
      this.time += this.settings.stepSize * this.rule.timePerStepSize;
    }
    this.gl.bindFramebuffer(this.gl.FRAMEBUFFER, null);
  }

  _write(values, left, top, columns, rows, name = "state") {
    const gl = this.gl;
    const { channels } = this.rule.given.find((one) => one.name === name);
    const layer = new Float32Array(4 * rows * columns);
    gl.bindTexture(gl.TEXTURE_2D_ARRAY, this.textures[name]);
    for (let first = 0; first < channels; first += 4) {
      const count = Math.min(4, channels - first);
      layer.fill(0);
      for (let cell = 0; cell < rows * columns; cell++) {
        for (let n = 0; n < count; n++) {
          layer[4 * cell + n] = values[cell * channels + first + n];
        }
      }
      gl.texSubImage3D(
        gl.TEXTURE_2D_ARRAY, 0, left, top, first / 4, columns, rows, 1, gl.RGBA, gl.FLOAT, layer);
    }
  }

  // The passes for the walls there are: those with values of their own take more.
  _passes() {
    const given = this.settings.walls.values.flat(2).some((value) => value !== 0);
    if (!this.compiled.has(given)) {
      this.compiled.set(given, this.rule.passes.flatMap((pass) => this._chunks(pass, given)));
    }
    return this.compiled.get(given);
  }

  // A pass as often as it needs to be run to write all its layers.
  _chunks(pass, given) {
    const gl = this.gl, chunks = [];
    const most = gl.getParameter(gl.MAX_DRAW_BUFFERS);
    for (let first = 0; first < pass.outputs.length; first += most) {
      const outputs = pass.outputs.slice(first, first + most);
      const program = linkProgram(gl, this._source(pass, outputs, given));
      const layers = outputs.map((_, n) => first + n);
      chunks.push({ ...pass, program, uniform: uniformsOf(gl, program), layers });
    }
    return chunks;
  }

  _source(pass, outputs, given) {
    const lines = [
      "#version 300 es",
      `#define CHANNELS ${this.rule.channels}`,
      `#define GIVEN_WALLS ${given ? 1 : 0}`,
      this.prelude,
      this.weightsSource,
      ...pass.reads.map((name) => `uniform sampler2DArray ${name};`),
      this.rule.inputs.length ? `uniform float inputs[${this.rule.inputs.length}];` : "",
      ...outputs.map((_, n) => `layout(location = ${n}) out vec4 out${n};`),
      "void main() {",
      "ivec2 cell = ivec2(gl_FragCoord.xy);",
      pass.body,
      ...outputs.map((value, n) => `out${n} = ${value};`),
      "}",
    ];
    return lines.join("\n");
  }

  // The weights are a uniform buffer where it takes them, else a texture.
  _holdWeights() {
    const gl = this.gl, weights = this.rule.weights;
    const fours = weights.length / 4;
    this.buffered = weights.byteLength <= gl.getParameter(gl.MAX_UNIFORM_BLOCK_SIZE);
    if (this.buffered) {
      this.weightsSource =
        `layout(std140) uniform Weights { vec4 weights[${fours}]; };\n#define W(n) weights[n]`;
      this.buffer = gl.createBuffer();
      gl.bindBuffer(gl.UNIFORM_BUFFER, this.buffer);
      gl.bufferData(gl.UNIFORM_BUFFER, weights, gl.STATIC_DRAW);
      gl.bindBufferBase(gl.UNIFORM_BUFFER, 0, this.buffer);
      return;
    }
    this.weightsSource =
      "uniform sampler2D weights;\n" +
      `#define W(n) texelFetch(weights, ivec2((n) % ${WEIGHTS_WIDTH}, (n) / ${WEIGHTS_WIDTH}), 0)`;
    const height = Math.ceil(fours / WEIGHTS_WIDTH);
    const padded = new Float32Array(4 * WEIGHTS_WIDTH * height);
    padded.set(weights);
    this.weightsTexture = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, this.weightsTexture);
    gl.texStorage2D(gl.TEXTURE_2D, 1, gl.RGBA32F, WEIGHTS_WIDTH, height);
    gl.texSubImage2D(
      gl.TEXTURE_2D, 0, 0, 0, WEIGHTS_WIDTH, height, gl.RGBA, gl.FLOAT, padded);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
  }

  _run(pass) {
    const gl = this.gl, { settings, rule } = this;
    const { writes, uniform } = pass;
    gl.useProgram(pass.program);
    pass.reads.forEach((name, unit) => {
      gl.activeTexture(gl.TEXTURE0 + unit);
      gl.bindTexture(gl.TEXTURE_2D_ARRAY, this.textures[name]);
      gl.uniform1i(uniform(name), unit);
    });
    if (this.weightsTexture) {
      gl.activeTexture(gl.TEXTURE0 + pass.reads.length);
      gl.bindTexture(gl.TEXTURE_2D, this.weightsTexture);
      gl.uniform1i(uniform("weights"), pass.reads.length);
    }
    gl.activeTexture(gl.TEXTURE0);
    const kinds = settings.walls.kinds.map((kind) => KINDS[kind]);
    gl.uniform2i(uniform("extent"), this.columns, this.rows);
    gl.uniform2f(uniform("spacing"), rule.spacing[1], rule.spacing[0]);
    gl.uniform4iv(uniform("walls"), kinds);
    gl.uniform4iv(uniform("coefficientWalls"), kinds.map((kind) => AS_COEFFICIENT[kind]));
    const elapsed = settings.stepSize * rule.timePerStepSize;
    gl.uniform4fv(uniform("wallValues"), this._wallValues(this.time));
    gl.uniform4fv(uniform("wallValuesAfter"), this._wallValues(this.time + elapsed));
    gl.uniform1f(uniform("timeOfStep"), elapsed);
    gl.uniform1f(uniform("stepSize"), settings.stepSize);
    gl.uniform1f(uniform("time"), this.time);
    gl.uniform1f(uniform("fireRate"), settings.fireRate);
    gl.uniform2ui(uniform("draw"), this.steps, settings.seed);
    if (settings.inputs.length) gl.uniform1fv(uniform("inputs"), settings.inputs);
    this._drawInto(this.textures[writes.name === "state" ? "next" : writes.name], pass.layers);
    gl.viewport(0, 0, this.columns / writes.scale, this.rows / writes.scale);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }

  // The values of the four walls at a time, channel by channel.
  _wallValues(time) {
    const { values, times } = this.settings.walls;
    const now = values.map((rows, wall) => interpolated(times[wall], rows, time));
    return now[0].flatMap((_, channel) => now.map((ofWall) => ofWall[channel]));
  }

  _drawInto(texture, layers) {
    const gl = this.gl;
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.frame);
    const most = gl.getParameter(gl.MAX_COLOR_ATTACHMENTS);
    for (let n = 0; n < most; n++) {
      const place = gl.COLOR_ATTACHMENT0 + n;
      if (n < layers.length) {
        gl.framebufferTextureLayer(gl.FRAMEBUFFER, place, texture, 0, layers[n]);
      } else {
        gl.framebufferTextureLayer(gl.FRAMEBUFFER, place, null, 0, 0);
      }
    }
    gl.drawBuffers(layers.map((_, n) => gl.COLOR_ATTACHMENT0 + n));
  }
}

// A row of numbers at a time, between the rows of a table; before and after it as at its ends.
function interpolated(times, rows, time) {
  if (times.length < 2 || time <= times[0]) return rows[0];
  const later = times.findIndex((one) => one > time);
  if (later < 0) return rows[rows.length - 1];
  const share = (time - times[later - 1]) / (times[later] - times[later - 1]);
  return rows[later].map((value, n) => rows[later - 1][n] * (1 - share) + value * share);
}
