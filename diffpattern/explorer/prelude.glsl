precision highp float;
precision highp int;
precision highp sampler2D;
precision highp sampler2DArray;

uniform ivec2 extent;            // cells along x and y, of the whole lattice
uniform vec2 spacing;            // between cells along x and y
uniform ivec4 walls;             // kinds: lower and upper in y, lower and upper in x
uniform ivec4 coefficientWalls;  // the same as a coefficient meets them
uniform vec4 wallValues[CHANNELS];  // of the four walls, as the step begins
uniform vec4 wallValuesAfter[CHANNELS];
uniform float stepSize;
uniform float time;
uniform float timeOfStep;
uniform float fireRate;
uniform uvec2 draw;              // which step this is, and of which run

const int CIRCULAR = 0, CONSTANT = 1, SYMMETRIC = 2, REPLICATE = 3, FLUX = 4;

// Along one axis: the cell that stands for a neighbour, and what its wall makes of it.
struct Along {
  int cell;
  float kept;      // 0 where the wall's value is there instead
  float mirrored;  // -1 in a mirror
  float raised;    // the wall's value is added so many times
  int wall;
};

Along along(int index, int cells, ivec2 kinds, int wall, float spacing) {
  Along found = Along(index, 1.0, 1.0, 0.0, wall);
  if (index >= 0 && index < cells) return found;
  bool upper = index >= cells;
  int kind = upper ? kinds.y : kinds.x;
  int beyond = upper ? index - cells : -1 - index;
  found.wall = upper ? wall + 1 : wall;
  if (kind == CIRCULAR) {
    beyond = beyond % cells;
    found.cell = upper ? beyond : cells - 1 - beyond;
  } else if (kind == SYMMETRIC || kind == FLUX) {
    beyond = min(beyond, cells - 1);
    found.cell = upper ? cells - 1 - beyond : beyond;
    found.mirrored = -1.0;
    if (kind == FLUX) found.raised = spacing * float(2 * beyond + 1);
  } else {
    found.cell = upper ? cells - 1 : 0;
    found.kept = kind == CONSTANT ? 0.0 : 1.0;
    found.raised = 1.0 - found.kept;
  }
  return found;
}

// The part of the step that has gone by at a time.
float momentOf(float now) {
  return (now - time) / timeOfStep;
}

float wallValue(int wall, int species, float moment) {
  return mix(wallValues[species][wall], wallValuesAfter[species][wall], moment);
}

// What a wall makes of the numbers of the cell that stands for one beyond it. A vector's component
// across the wall is turned around by a mirror.
vec4 beyondWall(vec4 value, Along along, bool turned, ivec4 species, float moment) {
  bool around = turned && along.mirrored < 0.0;
  value *= around ? -1.0 : along.kept;
#if GIVEN_WALLS
  if (along.raised > 0.0 && !around) {
    value += along.raised * vec4(wallValue(along.wall, species.x, moment),
                                 wallValue(along.wall, species.y, moment),
                                 wallValue(along.wall, species.z, moment),
                                 wallValue(along.wall, species.w, moment));
  }
#endif
  return value;
}

// Corners are what the last axis makes of the border of the first.
vec4 walled(vec4 value, Along y, Along x, bvec2 turned, ivec4 species, float moment) {
  value = beyondWall(value, y, turned.x, species, moment);
  return beyondWall(value, x, turned.y, species, moment);
}

// PCG in three dimensions: Jarzynski and Olano, "Hash functions for GPU rendering" (2020).
uvec3 scrambled(uvec3 v) {
  v = v * 1664525u + 1013904223u;
  v.x += v.y * v.z; v.y += v.z * v.x; v.z += v.x * v.y;
  v ^= v >> 16u;
  v.x += v.y * v.z; v.y += v.z * v.x; v.z += v.x * v.y;
  return v;
}

float fires(ivec2 cell) {
  if (fireRate >= 1.0) return 1.0;
  uint drawn = scrambled(uvec3(cell, 0u) + uvec3(draw.yy, draw.x)).x;
  return float(drawn >> 8u) * exp2(-24.0) < fireRate ? 1.0 : 0.0;
}

// Truth is 1, untruth 0.
float isBelow(float a, float b) { return float(a < b); }
float isAbove(float a, float b) { return float(a > b); }
float isAtMost(float a, float b) { return float(a <= b); }
float isAtLeast(float a, float b) { return float(a >= b); }
float isEqual(float a, float b) { return float(a == b); }
float isNotEqual(float a, float b) { return float(a != b); }
float isFinite(float a) { return float(!isnan(a) && !isinf(a)); }
float chosen(float which, float no, float yes) { return which != 0.0 ? yes : no; }

// Of one number and of several; series where the plain formula would lose digits.
float tanhOf(float x) {
  float e = exp(-2.0 * abs(x)), square = x * x;
  float series = x * (1.0 - square * (1.0 / 3.0 - square * (2.0 / 15.0 - square * 17.0 / 315.0)));
  return abs(x) < 0.15 ? series : sign(x) * (1.0 - e) / (1.0 + e);
}
float log1p(float x) {
  float series = x * (1.0 - x * (0.5 - x * (1.0 / 3.0 - x * 0.25)));
  return abs(x) < 0.02 ? series : log(1.0 + x);
}
float expm1(float x) {
  float series = x * (1.0 + x * (0.5 + x * (1.0 / 6.0 + x / 24.0)));
  return abs(x) < 0.02 ? series : exp(x) - 1.0;
}

#define COMPARISONS(V) \
  V isBelow(V a, V b) { return V(lessThan(a, b)); } \
  V isAbove(V a, V b) { return V(greaterThan(a, b)); } \
  V isAtMost(V a, V b) { return V(lessThanEqual(a, b)); } \
  V isAtLeast(V a, V b) { return V(greaterThanEqual(a, b)); } \
  V isEqual(V a, V b) { return V(equal(a, b)); } \
  V isNotEqual(V a, V b) { return V(notEqual(a, b)); } \
  V isFinite(V a) { return V(not(isnan(a))) * V(not(isinf(a))); } \
  V chosen(V which, V no, V yes) { return mix(no, yes, notEqual(which, V(0.0))); }
COMPARISONS(vec2)
COMPARISONS(vec3)
COMPARISONS(vec4)

#define OF_EACH(name) \
  vec2 name(vec2 a) { return vec2(name(a.x), name(a.y)); } \
  vec3 name(vec3 a) { return vec3(name(a.xy), name(a.z)); } \
  vec4 name(vec4 a) { return vec4(name(a.xyz), name(a.w)); }
OF_EACH(tanhOf)
OF_EACH(log1p)
OF_EACH(expm1)

float logistic(float x) { return 1.0 / (1.0 + exp(-x)); }
vec2 logistic(vec2 x) { return 1.0 / (1.0 + exp(-x)); }
vec3 logistic(vec3 x) { return 1.0 / (1.0 + exp(-x)); }
vec4 logistic(vec4 x) { return 1.0 / (1.0 + exp(-x)); }
