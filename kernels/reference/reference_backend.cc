#include "kernels/reference/reference_backend.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "kernels/cpu/cpu_memory.h"
#include "kernels/float_types.h"

namespace strata::kernels {
namespace {

std::vector<float> ToF32(const HostMatrix& m) {
  std::vector<float> values(m.rows * m.cols);
  for (int64_t i = 0; i < m.rows * m.cols; ++i) values[i] = LoadAsF32(m.data, m.dtype, i);
  return values;
}

class PlainMatrix : public Matrix {
 public:
  PlainMatrix(std::span<const HostMatrix> parts) : k(parts.front().cols) {
    for (const HostMatrix& part : parts) {
      const std::vector<float> rows = ToF32(part);
      values.insert(values.end(), rows.begin(), rows.end());
    }
  }
  PlainMatrix(const PlainMatrix& from, std::span<const int32_t> rows) : k(from.k) {
    for (const int32_t row : rows) {
      const auto first = from.values.begin() + row * k;
      values.insert(values.end(), first, first + k);
    }
  }
  size_t size_bytes() const override { return values.size() * sizeof(float); }

  int64_t k;
  std::vector<float> values;  // [N, K], or [2 x N, K]: gate, then up
};

class PlainEmbedding : public EmbeddingTable {
 public:
  explicit PlainEmbedding(const HostMatrix& table) : values(ToF32(table)) {}

  std::vector<float> values;  // [vocabulary, hidden]
};

class PlainKvCache : public KvCache {
 public:
  explicit PlainKvCache(const KvCacheShape& shape)
      : shape(shape),
        keys(int64_t{shape.num_layers} * shape.num_blocks * kKvBlockTokens * shape.num_kv_heads *
             shape.head_dim),
        values(keys.size()) {}
  size_t size_bytes() const override { return 2 * keys.size() * sizeof(float); }

  // Where the [head_dim] of a position and head start.
  int64_t Index(int layer, int block, int slot, int kv_head) const {
    const int64_t row = (int64_t{layer} * shape.num_blocks + block) * kKvBlockTokens + slot;
    return (row * shape.num_kv_heads + kv_head) * shape.head_dim;
  }

  KvCacheShape shape;
  std::vector<float> keys;  // [num_layers, num_blocks, kKvBlockTokens, num_kv_heads, head_dim]
  std::vector<float> values;
};

float Dot(const float* a, const float* b, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += double{a[i]} * b[i];
  return static_cast<float>(sum);
}

// Rotates one head by its position: pairs are (i, i + head_dim / 2).
void Rotate(float* x, int head_dim, const RopeTable& rope, int64_t position) {
  const int half = head_dim / 2;
  for (int i = 0; i < half; ++i) {
    const float c = rope.cos[position * half + i];
    const float s = rope.sin[position * half + i];
    const float a = x[i];
    const float b = x[i + half];
    x[i] = a * c - b * s;
    x[i + half] = b * c + a * s;
  }
}

class ReferenceBackend : public Backend {
 public:
  std::string Description() const override { return "reference, 1 thread, f32 weights"; }
  DType operand_dtype() const override { return DType::kF32; }

  Buffer Allocate(size_t size_bytes) override { return AllocateHost(size_bytes); }
  void CopyToDevice(void* device, const void* host, size_t size_bytes) override {
    std::memcpy(device, host, size_bytes);
  }
  std::unique_ptr<Matrix> LoadMatrix(std::span<const HostMatrix> parts) override {
    return std::make_unique<PlainMatrix>(parts);
  }
  std::unique_ptr<Matrix> LoadGatedMatrix(const HostMatrix& gate, const HostMatrix& up) override {
    const HostMatrix parts[] = {gate, up};
    return std::make_unique<PlainMatrix>(parts);
  }
  std::unique_ptr<Matrix> SelectRows(const Matrix& w, std::span<const int32_t> rows) override {
    return std::make_unique<PlainMatrix>(static_cast<const PlainMatrix&>(w), rows);
  }
  std::unique_ptr<EmbeddingTable> LoadEmbedding(const HostMatrix& table) override {
    return std::make_unique<PlainEmbedding>(table);
  }
  std::unique_ptr<KvCache> CreateKvCache(const KvCacheShape& shape) override {
    return std::make_unique<PlainKvCache>(shape);
  }

  void BeginBatch(const RowBatch& batch) override;
  void Embed(const EmbeddingTable& table, TensorView x) override;
  void RmsNorm(ConstTensorView x, const float* weight, float eps, TensorView out) override;
  void MatMul(ConstTensorView a, const Matrix& w, Epilogue epilogue, TensorView out) override;
  void GatedMatMul(ConstTensorView a, const Matrix& w, TensorView out) override;
  void RopeAndAppendKv(TensorView qkv, const AttentionShape& shape, const RopeTable& rope,
                       KvCache& kv, int layer) override;
  void PagedAttention(ConstTensorView qkv, const AttentionShape& shape, const KvCache& kv,
                      int layer, TensorView out) override;
  void GatherRows(ConstTensorView src, std::span<const int32_t> indices, TensorView dst) override;
  void ScatterRows(ConstTensorView src, std::span<const int32_t> indices, TensorView dst) override;

  const float* ReadBack(ConstTensorView x) override { return x.as<float>(); }
  void Synchronize() override {}

 private:
  int BlockOf(int64_t row, int64_t position) const {
    return block_tables_[int64_t{sequences_[row]} * max_blocks_per_sequence_ +
                         position / kKvBlockTokens];
  }
  void AttendOneHead(const float* q, int64_t row, int kv_head, const PlainKvCache& kv, int layer,
                     float* out) const;

  // The current batch.
  std::vector<int32_t> token_ids_;
  std::vector<int32_t> positions_;
  std::vector<int32_t> sequences_;
  std::vector<int32_t> block_tables_;
  int max_blocks_per_sequence_ = 0;
};

void ReferenceBackend::BeginBatch(const RowBatch& batch) {
  token_ids_.assign(batch.token_ids.begin(), batch.token_ids.end());
  positions_.assign(batch.positions.begin(), batch.positions.end());
  sequences_.assign(batch.sequences.begin(), batch.sequences.end());
  block_tables_.assign(batch.block_tables.begin(), batch.block_tables.end());
  max_blocks_per_sequence_ = batch.max_blocks_per_sequence;
}

void ReferenceBackend::Embed(const EmbeddingTable& table, TensorView x) {
  const std::vector<float>& values = static_cast<const PlainEmbedding&>(table).values;
  for (int64_t i = 0; i < x.rows; ++i) {
    float* row = x.as<float>() + i * x.cols;
    if (token_ids_[i] < 0) {
      std::fill_n(row, x.cols, 0.0f);
    } else {
      std::memcpy(row, &values[token_ids_[i] * x.cols], x.cols * sizeof(float));
    }
  }
}

void ReferenceBackend::RmsNorm(ConstTensorView x, const float* weight, float eps, TensorView out) {
  for (int64_t i = 0; i < x.rows; ++i) {
    const float* row = x.as<float>() + i * x.cols;
    const double mean = double{Dot(row, row, x.cols)} / static_cast<double>(x.cols);
    const float scale = static_cast<float>(1.0 / std::sqrt(mean + eps));
    for (int64_t j = 0; j < x.cols; ++j) {
      out.as<float>()[i * x.cols + j] = row[j] * scale * weight[j];
    }
  }
}

void ReferenceBackend::MatMul(ConstTensorView a, const Matrix& w, Epilogue epilogue,
                              TensorView out) {
  const auto& matrix = static_cast<const PlainMatrix&>(w);
  for (int64_t i = 0; i < a.rows; ++i) {
    for (int64_t j = 0; j < out.cols; ++j) {
      const float y = Dot(a.as<float>() + i * a.cols, &matrix.values[j * matrix.k], matrix.k);
      float& to = out.as<float>()[i * out.cols + j];
      to = epilogue == Epilogue::kAdd ? to + y : y;
    }
  }
}

void ReferenceBackend::GatedMatMul(ConstTensorView a, const Matrix& w, TensorView out) {
  const auto& matrix = static_cast<const PlainMatrix&>(w);
  const int64_t k = matrix.k;
  for (int64_t i = 0; i < a.rows; ++i) {
    const float* x = a.as<float>() + i * a.cols;
    for (int64_t j = 0; j < out.cols; ++j) {
      const float gate = Dot(x, &matrix.values[j * k], k);
      const float up = Dot(x, &matrix.values[(out.cols + j) * k], k);
      out.as<float>()[i * out.cols + j] = gate / (1.0f + std::exp(-gate)) * up;
    }
  }
}

void ReferenceBackend::RopeAndAppendKv(TensorView qkv, const AttentionShape& shape,
                                       const RopeTable& rope, KvCache& kv, int layer) {
  auto& cache = static_cast<PlainKvCache&>(kv);
  const int d = shape.head_dim;
  for (int64_t row = 0; row < qkv.rows; ++row) {
    const int64_t position = positions_[row];
    float* heads = qkv.as<float>() + row * qkv.cols;
    // Queries and keys stand side by side, and both are rotated.
    for (int h = 0; h < shape.num_heads + shape.num_kv_heads; ++h) {
      Rotate(heads + h * d, d, rope, position);
    }
    const float* keys = heads + shape.num_heads * d;
    const float* values = keys + shape.num_kv_heads * d;
    for (int h = 0; h < shape.num_kv_heads; ++h) {
      const int64_t at = cache.Index(layer, BlockOf(row, position), position % kKvBlockTokens, h);
      std::memcpy(&cache.keys[at], keys + h * d, d * sizeof(float));
      std::memcpy(&cache.values[at], values + h * d, d * sizeof(float));
    }
  }
}

void ReferenceBackend::AttendOneHead(const float* q, int64_t row, int kv_head,
                                     const PlainKvCache& kv, int layer, float* out) const {
  const int d = kv.shape.head_dim;
  const int64_t count = int64_t{positions_[row]} + 1;
  std::vector<double> weights(count);
  double max = -INFINITY;
  for (int64_t t = 0; t < count; ++t) {
    const int64_t at = kv.Index(layer, BlockOf(row, t), t % kKvBlockTokens, kv_head);
    weights[t] = Dot(q, &kv.keys[at], d) / std::sqrt(static_cast<double>(d));
    max = std::max(max, weights[t]);
  }
  double total = 0;
  for (double& weight : weights) total += weight = std::exp(weight - max);
  std::vector<double> sum(d);
  for (int64_t t = 0; t < count; ++t) {
    const int64_t at = kv.Index(layer, BlockOf(row, t), t % kKvBlockTokens, kv_head);
    for (int i = 0; i < d; ++i) sum[i] += weights[t] * kv.values[at + i];
  }
  for (int i = 0; i < d; ++i) out[i] = static_cast<float>(sum[i] / total);
}

void ReferenceBackend::PagedAttention(ConstTensorView qkv, const AttentionShape& shape,
                                      const KvCache& kv, int layer, TensorView out) {
  const auto& cache = static_cast<const PlainKvCache&>(kv);
  const int group = shape.num_heads / shape.num_kv_heads;
  for (int64_t row = 0; row < qkv.rows; ++row) {
    for (int h = 0; h < shape.num_heads; ++h) {
      AttendOneHead(qkv.as<float>() + row * qkv.cols + h * shape.head_dim, row, h / group, cache,
                    layer, out.as<float>() + row * out.cols + h * shape.head_dim);
    }
  }
}

void ReferenceBackend::GatherRows(ConstTensorView src, std::span<const int32_t> indices,
                                  TensorView dst) {
  for (int64_t i = 0; i < dst.rows; ++i) {
    for (int64_t j = 0; j < dst.cols; ++j) {
      dst.as<float>()[i * dst.cols + j] = src.as<float>()[indices[i] * src.cols + j];
    }
  }
}

void ReferenceBackend::ScatterRows(ConstTensorView src, std::span<const int32_t> indices,
                                   TensorView dst) {
  for (int64_t i = 0; i < src.rows; ++i) {
    for (int64_t j = 0; j < src.cols; ++j) {
      dst.as<float>()[indices[i] * dst.cols + j] = src.as<float>()[i * src.cols + j];
    }
  }
}

}  // namespace

std::unique_ptr<Backend> CreateReferenceBackend() { return std::make_unique<ReferenceBackend>(); }

}  // namespace strata::kernels
