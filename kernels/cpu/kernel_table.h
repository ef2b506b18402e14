// What an instruction set provides: one table of functions per pair of
// instruction set and weight type, filled by the set's translation unit.
//
// This header is plain C in spirit: those translation units are compiled with
// -m flags of their own, and any inline std function that they instantiated
// could end up, compiled for AVX-512, in a program that runs on an older CPU.
//
// Every function is serial; the backend splits the work over threads. None of
// their results depends on how it is split.

#ifndef STRATA_KERNELS_CPU_KERNEL_TABLE_H_
#define STRATA_KERNELS_CPU_KERNEL_TABLE_H_

#include <stddef.h>
#include <stdint.h>

#include "kernels/weight_format.h"

namespace strata::kernels {

// Packed weights (packed_matrix.h): panels of panel_cols output columns over all K.
//   f32:  [K][panel_cols]       bf16: [K / 2][panel_cols][2]
//   int8, int4: quantized_layout.h; K is then padded to whole groups
// A gated panel holds panel_cols / 2 columns of gate, then the same ones of up.
struct MatMulTask {
  const void* a;       // operand [rows, k]; quantised rows if the weights are
  const void* panels;  // all panels of the matrix
  int64_t rows;
  int64_t k;  // a multiple of 16
  int64_t n;  // columns of out: N, less than the padded width of the panels
  int64_t first_panel;
  int64_t end_panel;
  void* out;  // [rows, n], f32; operand if gated
  bool add;   // out += instead of out =; not if gated
};

// Rows of f32 to int8 operands of quantised weights (quantized_layout.h).
struct QuantizeTask {
  const float* x;  // [rows, cols]
  int64_t rows;
  int64_t cols;  // a multiple of 16
  int64_t k;     // cols padded to whole groups
  void* out;     // [rows] of QuantizedRowBytes(k)
};

struct RmsNormTask {
  const float* x;       // [rows, hidden]
  const float* weight;  // [hidden]
  float eps;
  int64_t rows;
  int64_t hidden;  // a multiple of 16
  void* out;       // operand [rows, hidden]
};

constexpr int kTileTokens = 16;  // positions of a KV block
constexpr int kMaxHeadDim = 256;

// A few rows of one sequence and one KV head: the query heads that share it.
//
// Key/value tile of one block and head, in the weight type T; the K part is
// transposed so that 16 scores are computed side by side:
//   K f32: [head_dim][16]   K bf16: [head_dim / 2][16][2]   V: [16][head_dim]
struct AttentionTask {
  const float* queries;      // row r: [group, head_dim] at queries + r * query_stride, rotated
  int64_t query_stride;      // elements
  const int32_t* positions;  // [rows]: row r attends to [0, positions[r]]
  int64_t rows;
  int64_t group;
  int64_t head_dim;      // a multiple of 16, at most kMaxHeadDim
  const void* kv;        // tile of block 0 in this layer and head
  int64_t block_stride;  // bytes from a block's tile to the next block's
  const int32_t* block_table;
  float scale;
  void* out;           // operand; row r: [group, head_dim] at out + r * out_stride
  int64_t out_stride;  // elements
};

// Queries (row and head) that an attention kernel takes along a sequence at
// once: a task of more makes it read the KV again.
constexpr int kMaxQueries = 48;

// A sequence's positions are cut into partitions of this length, whose results
// are merged in order; so that several threads can work on one long sequence,
// and that the bits are the same if they do not.
constexpr int64_t kPartitionTokens = 512;
// Result of a partition for one query, in floats: a header, then [head_dim].
constexpr int64_t kPartialHeader = 16;
constexpr int64_t PartialFloats(int64_t head_dim) { return kPartialHeader + head_dim; }

// One row and one KV head: rotates its key and the queries that share it, then
// writes key and value into the tile.
struct RopeTask {
  float* queries;      // [group, head_dim], in place
  float* key;          // [head_dim], in place
  const float* value;  // [head_dim]
  int64_t group;
  int64_t head_dim;
  const float* cos;  // [head_dim / 2]
  const float* sin;
  void* tile;    // of the position's block and KV head, as above
  int64_t slot;  // of the position in its block
};

struct KernelTable {
  const char* name;
  WeightFormat weights;
  bool bf16_operands;  // else f32
  bool bf16_kv;        // else f32
  int64_t panel_cols;
  void (*mat_mul)(const MatMulTask& task);
  void (*gated_mat_mul)(const MatMulTask& task);
  void (*rms_norm)(const RmsNormTask& task);
  void (*attention)(const AttentionTask& task);
  // The same in two steps, the first for each partition.
  // partials: [partitions][rows * group][PartialFloats(head_dim)]
  void (*attend_partition)(const AttentionTask& task, int64_t partition, float* partials);
  void (*merge_partitions)(const AttentionTask& task, float* partials);
  void (*rope_and_append_kv)(const RopeTask& task);
  void (*quantize_rows)(const QuantizeTask& task);  // quantised weights only, else null
};

// Loops that show what the hardware can do at best (limits.h). Each returns
// the number of operations it did, and stores a result nobody needs in *sink.
constexpr size_t kReadAhead = 4096;  // bytes that the read probe prefetches ahead

struct ProbeTable {
  // Reads `bytes` (a multiple of 1024) once, in order.
  void (*read)(const void* data, size_t bytes, float* sink);
  double (*bf16_flops)(int64_t iterations, float* sink);
  double (*int8_ops)(int64_t iterations, float* sink);  // null: none in this set
};

// Null, here and below, for what is not among kCpuWeightFormats.
const KernelTable* GenericKernels(WeightFormat weights);
const ProbeTable* GenericProbes();
#ifdef STRATA_X86
const KernelTable* Avx2Kernels(WeightFormat weights);
const ProbeTable* Avx2Probes();
const KernelTable* Avx512F32Kernels();
const KernelTable* Avx512VnniKernels(WeightFormat weights);  // kInt8, kInt4
const KernelTable* Avx512VnniUnstagedInt4Kernels();  // the same bits, unpacked in registers only
const ProbeTable* Avx512Probes();
const KernelTable* Avx512Bf16Kernels();     // products with the bf16 dot instruction
const KernelTable* Avx512Bf16FmaKernels();  // the same bits by widening and f32 FMA
const ProbeTable* Avx512Bf16Probes();
const ProbeTable* Avx512VnniProbes();
const KernelTable* AmxBf16Kernels();
const ProbeTable* AmxBf16Probes();
// kInt8, kInt4: the bits of `few_rows`, a table of Avx512Vnni, which few rows are left to.
const KernelTable* AmxInt8Kernels(const KernelTable* few_rows);
const ProbeTable* AmxInt8Probes();
#endif

}  // namespace strata::kernels

#endif  // STRATA_KERNELS_CPU_KERNEL_TABLE_H_
