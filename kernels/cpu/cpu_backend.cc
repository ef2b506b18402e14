#include "kernels/cpu/cpu_backend.h"

#include <cmath>
#include <cstring>

#include "kernels/cpu/cpu_memory.h"
#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/kv_tiles.h"
#include "kernels/cpu/packed_matrix.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/float_types.h"

namespace strata::kernels {
namespace {

// Multiply-adds, or elements touched a few times, below which waking the other
// threads costs more than they save.
constexpr int64_t kSerialMultiplyAdds = 64 * 1024;
constexpr int64_t kSerialElements = 8 * 1024;

class HostEmbedding : public EmbeddingTable {
 public:
  explicit HostEmbedding(const HostMatrix& table) : table_(table) {}
  const HostMatrix& table() const { return table_; }

 private:
  HostMatrix table_;
};

class CpuBackend : public Backend {
 public:
  explicit CpuBackend(const CpuBackendOptions& options)
      : weight_dtype_(options.weight_dtype),
        kernels_(ChooseKernels(options.weight_dtype == DType::kBF16, options.isa)),
        pool_(options.num_threads) {}

  std::string Description() const override {
    return std::string("cpu ") + kernels_.name + ", " + std::to_string(pool_.num_threads()) +
           " threads, " + NameOf(weight_dtype_) + " weights";
  }
  DType operand_dtype() const override {
    return kernels_.bf16_operands ? DType::kBF16 : DType::kF32;
  }

  Buffer Allocate(size_t size_bytes) override { return AllocateHost(size_bytes); }
  void CopyToDevice(void* device, const void* host, size_t size_bytes) override {
    std::memcpy(device, host, size_bytes);
  }
  std::unique_ptr<Matrix> LoadMatrix(std::span<const HostMatrix> parts) override {
    return PackedMatrix::Pack(parts, kernels_, pool_);
  }
  std::unique_ptr<Matrix> LoadGatedMatrix(const HostMatrix& gate, const HostMatrix& up) override {
    return PackedMatrix::PackGated(gate, up, kernels_, pool_);
  }
  std::unique_ptr<Matrix> SelectRows(const Matrix& w, std::span<const int32_t> rows) override {
    return PackedMatrix::Select(static_cast<const PackedMatrix&>(w), rows, kernels_, pool_);
  }
  std::unique_ptr<EmbeddingTable> LoadEmbedding(const HostMatrix& table) override {
    return std::make_unique<HostEmbedding>(table);
  }
  std::unique_ptr<KvCache> CreateKvCache(const KvCacheShape& shape) override {
    return std::make_unique<KvTiles>(shape, weight_dtype_);
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
  void RunMatMul(void (*kernel)(const MatMulTask&), ConstTensorView a, const Matrix& w, bool add,
                 TensorView out);
  // Block table of the row's sequence.
  const int32_t* BlocksOf(int64_t row) const {
    return block_tables_.data() + int64_t{sequences_[row]} * max_blocks_per_sequence_;
  }

  // Constant after construction.
  DType weight_dtype_;
  const KernelTable& kernels_;
  ThreadPool pool_;

  // The current batch.
  std::vector<int32_t> token_ids_;
  std::vector<int32_t> positions_;
  std::vector<int32_t> sequences_;
  std::vector<int32_t> block_tables_;
  int max_blocks_per_sequence_ = 0;
};

void CpuBackend::BeginBatch(const RowBatch& batch) {
  token_ids_.assign(batch.token_ids.begin(), batch.token_ids.end());
  positions_.assign(batch.positions.begin(), batch.positions.end());
  sequences_.assign(batch.sequences.begin(), batch.sequences.end());
  block_tables_.assign(batch.block_tables.begin(), batch.block_tables.end());
  max_blocks_per_sequence_ = batch.max_blocks_per_sequence;
}

void CpuBackend::Embed(const EmbeddingTable& table, TensorView x) {
  const HostMatrix& source = static_cast<const HostEmbedding&>(table).table();
  const bool serial = x.rows * x.cols < kSerialElements;
  pool_.ParallelFor(x.rows, serial, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t first = int64_t{token_ids_[i]} * source.cols;
      float* row = x.as<float>() + i * x.cols;
      for (int64_t j = 0; j < x.cols; ++j) row[j] = LoadAsF32(source.data, source.dtype, first + j);
    }
  });
}

void CpuBackend::RmsNorm(ConstTensorView x, const float* weight, float eps, TensorView out) {
  const bool serial = x.rows * x.cols < kSerialElements;
  const int64_t out_row_bytes = x.cols * static_cast<int64_t>(SizeOf(out.dtype));
  pool_.ParallelFor(x.rows, serial, [&](int64_t begin, int64_t end) {
    kernels_.rms_norm({x.as<float>() + begin * x.cols, weight, eps, end - begin, x.cols,
                       out.as<char>() + begin * out_row_bytes});
  });
}

void CpuBackend::RunMatMul(void (*kernel)(const MatMulTask&), ConstTensorView a, const Matrix& w,
                           bool add, TensorView out) {
  const auto& matrix = static_cast<const PackedMatrix&>(w);
  const int64_t work = a.rows * matrix.num_panels() * kernels_.panel_cols * matrix.k();
  pool_.ParallelFor(
      matrix.num_panels(), work < kSerialMultiplyAdds, [&](int64_t begin, int64_t end) {
        kernel({a.data, matrix.panels(), a.rows, matrix.k(), out.cols, begin, end, out.data, add});
      });
}

void CpuBackend::MatMul(ConstTensorView a, const Matrix& w, Epilogue epilogue, TensorView out) {
  RunMatMul(kernels_.mat_mul, a, w, epilogue == Epilogue::kAdd, out);
}

void CpuBackend::GatedMatMul(ConstTensorView a, const Matrix& w, TensorView out) {
  RunMatMul(kernels_.gated_mat_mul, a, w, /*add=*/false, out);
}

// x [head_dim], in place; cos and sin [head_dim / 2].
void Rotate(float* x, int64_t head_dim, const float* cos, const float* sin) {
  const int64_t half = head_dim / 2;
  for (int64_t i = 0; i < half; ++i) {
    const float a = x[i];
    const float b = x[i + half];
    x[i] = a * cos[i] - b * sin[i];
    x[i + half] = b * cos[i] + a * sin[i];
  }
}

void CpuBackend::RopeAndAppendKv(TensorView qkv, const AttentionShape& shape, const RopeTable& rope,
                                 KvCache& kv, int layer) {
  auto& tiles = static_cast<KvTiles&>(kv);
  const int64_t d = shape.head_dim;
  const int64_t group = shape.num_heads / shape.num_kv_heads;
  // Split by KV head: neighbouring positions share cache lines of a key tile.
  const bool serial = qkv.rows * qkv.cols < kSerialElements;
  pool_.ParallelFor(shape.num_kv_heads, serial, [&](int64_t begin, int64_t end) {
    for (int64_t row = 0; row < qkv.rows; ++row) {
      const int64_t position = positions_[row];
      const float* cos = rope.cos + position * (d / 2);
      const float* sin = rope.sin + position * (d / 2);
      float* queries = qkv.as<float>() + row * qkv.cols;
      float* keys = queries + shape.num_heads * d;
      const float* values = keys + shape.num_kv_heads * d;
      const int block = BlocksOf(row)[position / kKvBlockTokens];
      for (int64_t h = begin; h < end; ++h) {
        for (int64_t g = 0; g < group; ++g) Rotate(queries + (h * group + g) * d, d, cos, sin);
        Rotate(keys + h * d, d, cos, sin);
        tiles.Write(layer, block, static_cast<int>(position % kKvBlockTokens), static_cast<int>(h),
                    keys + h * d, values + h * d);
      }
    }
  });
}

void CpuBackend::PagedAttention(ConstTensorView qkv, const AttentionShape& shape, const KvCache& kv,
                                int layer, TensorView out) {
  const auto& tiles = static_cast<const KvTiles&>(kv);
  const int64_t d = shape.head_dim;
  const int64_t group = shape.num_heads / shape.num_kv_heads;
  const int64_t operand_bytes = static_cast<int64_t>(SizeOf(out.dtype));
  const float scale = 1.0f / std::sqrt(static_cast<float>(d));
  const auto attend = [&](int64_t row, int64_t head) {
    kernels_.attention({qkv.as<float>() + row * qkv.cols + head * group * d, group, d,
                        tiles.Tile(layer, static_cast<int>(head)), tiles.block_stride(),
                        BlocksOf(row), positions_[row], scale,
                        out.as<char>() + (row * out.cols + head * group * d) * operand_bytes});
  };
  int64_t work = 0;
  for (int64_t row = 0; row < qkv.rows; ++row) work += positions_[row] + 1;
  work *= int64_t{2} * shape.num_heads * d;
  // Items in turn, not in ranges: in a prefill chunk later rows cost more.
  const int64_t items = qkv.rows * shape.num_kv_heads;
  const int64_t stride = work < kSerialMultiplyAdds ? 1 : pool_.num_threads();
  pool_.ParallelFor(stride, stride == 1, [&](int64_t begin, int64_t end) {
    for (int64_t first = begin; first < end; ++first) {
      for (int64_t i = first; i < items; i += stride) attend(i % qkv.rows, i / qkv.rows);
    }
  });
}

void CpuBackend::GatherRows(ConstTensorView src, std::span<const int32_t> indices, TensorView dst) {
  for (int64_t i = 0; i < dst.rows; ++i) {
    std::memcpy(dst.as<float>() + i * dst.cols, src.as<float>() + indices[i] * src.cols,
                dst.cols * sizeof(float));
  }
}

void CpuBackend::ScatterRows(ConstTensorView src, std::span<const int32_t> indices,
                             TensorView dst) {
  for (int64_t i = 0; i < src.rows; ++i) {
    std::memcpy(dst.as<float>() + indices[i] * dst.cols, src.as<float>() + i * src.cols,
                src.cols * sizeof(float));
  }
}

}  // namespace

std::unique_ptr<Backend> CreateCpuBackend(const CpuBackendOptions& options) {
  if (options.weight_dtype == DType::kF16) {
    throw DeviceError("the CPU backend holds weights in bf16 or f32, not f16");
  }
  return std::make_unique<CpuBackend>(options);
}

}  // namespace strata::kernels
