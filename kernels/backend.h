// The specification of a device backend: what a port to new hardware must provide.
//
// The engine holds one Llama definition and expresses it in the operations
// below; it never looks inside device memory. There is one virtual call per
// operation on a whole batch, none per element.
//
// Numbers. The residual stream and every matrix product's output are f32.
// Inputs of matrix products are held in the backend's *operand type*
// (Backend::operand_dtype), to which RmsNorm, GatedMatMul and PagedAttention
// convert as they write.
//
// Row-count invariance (REQUIRED of every operation). The bits of an output
// row depend only on that row's own inputs (and, for attention, the KV of its
// own sequence at positions <= its own), never on how many rows are computed
// with it, on their order or on the number of threads. So sums run over K in
// one fixed order, and attention walks a sequence's KV in order of position: if
// it is cut into parts, then at fixed positions, and they are merged in order.
// Everything the engine promises about equal tokens rests on this.
//
// Thread rule. A Backend and what it made are used from one thread at a time.
// Operations may run asynchronously, in the order of the calls; ReadBack and
// Synchronize wait for all that came before.
//
// Errors. Operations validate nothing: shapes are the caller's duty, checked
// once when a model is created. Running out of memory or losing a device
// throws DeviceError, at load time from the function that allocates, later
// from ReadBack or Synchronize.

#ifndef STRATA_KERNELS_BACKEND_H_
#define STRATA_KERNELS_BACKEND_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>

#include "kernels/chooser.h"
#include "kernels/tensor.h"
#include "kernels/weight_format.h"

namespace strata::kernels {

class DeviceError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// The float type beside such weights: of KV, of a GPU's operands and, unless they are quantised, of
// the weights themselves.
constexpr DType FloatTypeOf(WeightFormat format) {
  return format == WeightFormat::kF32   ? DType::kF32
         : format == WeightFormat::kF16 ? DType::kF16
                                        : DType::kBF16;
}

// A weight matrix in the backend's own layout. Computes y = W x.
class Matrix {
 public:
  virtual ~Matrix() = default;
  // Bytes that one product with it reads.
  virtual size_t size_bytes() const = 0;
};

// A weight matrix before it is packed.
struct MatrixShape {
  int64_t rows = 0;    // output features; if gated, those of gate, which are those of up too
  int64_t cols = 0;    // input features
  bool gated = false;  // as from LoadGatedMatrix
};

// Packed matrices as bytes, which a file may hold until they are loaded again
// without packing. Thread rule and errors as of the Backend that owns it.
class PackedWeights {
 public:
  // Reads the matrix's bytes from `offset` on into `out`, all of it. False: cannot be read.
  // Called from several threads at once.
  using ReadBytes = std::function<bool(int64_t offset, std::span<std::byte> out)>;

  virtual ~PackedWeights() = default;

  virtual WeightFormat format() const = 0;
  // Names the order and meaning of the bytes: backends whose layouts have the
  // same name read each other's, and it changes with any change to either.
  virtual std::string layout() const = 0;
  virtual int64_t SizeBytes(const MatrixShape& shape) const = 0;
  // [SizeBytes], host memory, valid while `matrix` lives.
  virtual std::span<const std::byte> Bytes(const Matrix& matrix) const = 0;
  // The matrix of these SizeBytes(shape) bytes; whatever they are, computing with them is safe.
  // Null if `read` has failed.
  virtual std::unique_ptr<Matrix> Load(const MatrixShape& shape, const ReadBytes& read) = 0;
};

// The rows of a token-embedding table, in the backend's own layout.
class EmbeddingTable {
 public:
  virtual ~EmbeddingTable() = default;
};

struct KvCacheShape {
  int num_layers = 0;
  int num_kv_heads = 0;
  int head_dim = 0;
  int num_blocks = 0;
};

// Keys and values of all layers, in blocks of kKvBlockTokens positions.
// The engine knows blocks by their index only; the layout is the backend's.
class KvCache {
 public:
  virtual ~KvCache() = default;
  virtual size_t size_bytes() const = 0;
};

// Positions per KV block, for every backend.
inline constexpr int kKvBlockTokens = 16;

// Cosines and sines of rotary position embedding, f32, made by the engine.
// Pairs are (i, i + head_dim/2), the convention of Hugging Face's Llama.
struct RopeTable {
  const float* cos = nullptr;  // [max_positions, head_dim / 2], device memory
  const float* sin = nullptr;  // [max_positions, head_dim / 2], device memory
};

struct AttentionShape {
  int num_heads = 0;  // a multiple of num_kv_heads
  int num_kv_heads = 0;
  int head_dim = 0;  // a multiple of 16, at most 256
};

// Where each row of the batch stands. Host memory, copied by BeginBatch.
struct RowBatch {
  std::span<const int32_t> token_ids;  // [num_rows], for Embed; rows that do not start at
                                       // layer 0 may hold any valid id. -1: none
  std::span<const int32_t> positions;  // [num_rows] absolute position in its sequence
  std::span<const int32_t> sequences;  // [num_rows] row of block_tables
  // [num_sequences, max_blocks_per_sequence]: block of positions
  // [j * kKvBlockTokens, (j + 1) * kKvBlockTokens). Unused entries hold any value.
  std::span<const int32_t> block_tables;
  int max_blocks_per_sequence = 0;
  // [num_rows], or empty: where it is not -1, the row's token is what `chooser` has drafted into
  // that slot, in place of token_ids'.
  std::span<const int32_t> draft_slots = {};
  const Chooser* chooser = nullptr;
  // Of drafts: row i of the embedding table is token first_token + i, of so many. Others have none.
  int32_t first_token = 0;
  int32_t num_tokens = INT32_MAX;
};

class Backend {
 public:
  virtual ~Backend() = default;

  // For people, e.g. "cpu avx512_bf16, 2 threads, bf16 weights".
  virtual std::string Description() const = 0;
  virtual DType operand_dtype() const = 0;

  // ---- Memory and loading -------------------------------------------------

  // Zero-filled device memory, aligned to 64 bytes.
  virtual Buffer Allocate(size_t size_bytes) = 0;
  virtual void CopyToDevice(void* device, const void* host, size_t size_bytes) = 0;

  // Packs the row-wise concatenation of `parts`: all have the same number of
  // columns (input features, a multiple of 16) and any number of rows (output features) and any
  // of the types f32, f16, bf16. Does not keep pointers to the parts.
  virtual std::unique_ptr<Matrix> LoadMatrix(std::span<const HostMatrix> parts) = 0;
  // Packs the two halves of a gated MLP for GatedMatMul; same shape and rules.
  virtual std::unique_ptr<Matrix> LoadGatedMatrix(const HostMatrix& gate, const HostMatrix& up) = 0;
  // The matrix whose i-th row (output feature) is the rows[i]-th of `w`, which LoadMatrix or
  // SelectRows has made. A product's column for a feature has the same bits with either. Copies:
  // `w` may go.
  virtual std::unique_ptr<Matrix> SelectRows(const Matrix& w, std::span<const int32_t> rows) = 0;
  // Copies: `table.data`, a file's perhaps, may go or change.
  virtual std::unique_ptr<EmbeddingTable> LoadEmbedding(const HostMatrix& table) = 0;
  virtual std::unique_ptr<KvCache> CreateKvCache(const KvCacheShape& shape) = 0;
  // Optional. Null: this backend's matrices cannot be saved.
  virtual PackedWeights* packed_weights() { return nullptr; }
  // Optional. Null: the engine reads logits back, and chooses tokens itself.
  virtual std::unique_ptr<Chooser> CreateChooser(const ChooserLimits&) { return nullptr; }

  // ---- Operations ---------------------------------------------------------

  // Sets the rows that Embed, RopeAndAppendKv and PagedAttention refer to.
  // Each of these works on the batch's first n rows, n being the number of
  // rows of the tensor it is given: rows that entered at a later layer, or
  // have left already, stand at the end.
  virtual void BeginBatch(const RowBatch& batch) = 0;

  // Runs `operations`: calls of those below but ReadBack, that refer to the current batch and to no
  // host memory. An equal `key` means the same calls with the same arguments for as long as the
  // backend lives, whatever batch was begun; so what an earlier call made of them may be done again
  // without calling them.
  virtual void Repeat(uint64_t key, const std::function<void()>& operations) {
    static_cast<void>(key);
    operations();
  }

  // x[i, :] = table[token_ids[i], :], zeros without a token (another rank's table has it).
  // x f32 [n, hidden]
  virtual void Embed(const EmbeddingTable& table, TensorView x) = 0;

  // out = x / sqrt(mean(x^2) + eps) * weight.
  // x f32 [n, hidden], weight f32 [hidden] (device), out operand [n, hidden]
  virtual void RmsNorm(ConstTensorView x, const float* weight, float eps, TensorView out) = 0;

  enum class Epilogue { kStore, kAdd };
  // out = a W^T (kStore) or out += a W^T (kAdd: the residual connection).
  // a operand [n, K], w [N, K], out f32 [n, N]
  virtual void MatMul(ConstTensorView a, const Matrix& w, Epilogue epilogue, TensorView out) = 0;

  // out = silu(a G^T) * (a U^T).  a operand [n, K], w gated [2 x N, K], out operand [n, N]
  virtual void GatedMatMul(ConstTensorView a, const Matrix& w, TensorView out) = 0;

  // Rotates the queries in place and the keys by the rows' positions, then
  // writes keys and values of `layer` at those positions of the rows'
  // sequences, overwriting what is there.
  // qkv f32 [n, (num_heads + 2 * num_kv_heads) * head_dim]: queries, keys, values
  virtual void RopeAndAppendKv(TensorView qkv, const AttentionShape& shape, const RopeTable& rope,
                               KvCache& kv, int layer) = 0;

  // Causal attention of the rotated queries over positions [0, own position]
  // of the rows' sequences in `layer`, scaled by 1 / sqrt(head_dim).
  // qkv as above, out operand [n, num_heads * head_dim]
  virtual void PagedAttention(ConstTensorView qkv, const AttentionShape& shape, const KvCache& kv,
                              int layer, TensorView out) = 0;

  // dst[i, :] = src[indices[i], :].  f32, indices host memory [dst.rows]
  virtual void GatherRows(ConstTensorView src, std::span<const int32_t> indices,
                          TensorView dst) = 0;
  // dst[indices[i], :] = src[i, :].  f32, indices host memory [src.rows], distinct
  virtual void ScatterRows(ConstTensorView src, std::span<const int32_t> indices,
                           TensorView dst) = 0;

  // Waits for all operations, then returns the tensor's f32 elements in host
  // memory, valid until the next operation is called on this backend.
  virtual const float* ReadBack(ConstTensorView x) = 0;
  virtual void Synchronize() = 0;
};

}  // namespace strata::kernels

#endif  // STRATA_KERNELS_BACKEND_H_
