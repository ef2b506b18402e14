#include "kernels/cpu/cpu_backend.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

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

// Room for quantised operands: enough for huge pages. A tile is rows on pages of their own, and
// with small ones looking these up takes longer than the product.
constexpr size_t kOperandBytes = size_t{4} << 20;

// Attention: so many equal tasks for each thread keep all of them busy.
constexpr int64_t kEvenTasksPerThread = 4;
constexpr int kShortRangesPerThread = 32;

class HostEmbedding : public EmbeddingTable {
 public:
  explicit HostEmbedding(const HostMatrix& table)
      : memory_(AllocateHost(static_cast<size_t>(table.rows * table.cols) * SizeOf(table.dtype))),
        table_(table) {
    std::memcpy(memory_.data(), table.data, memory_.size_bytes());
    table_.data = memory_.data();
  }
  const HostMatrix& table() const { return table_; }

 private:
  const Buffer memory_;
  HostMatrix table_;
};

class CpuPackedWeights : public PackedWeights {
 public:
  CpuPackedWeights(const KernelTable& kernels, ThreadPool& pool) : kernels_(kernels), pool_(pool) {}

  WeightFormat format() const override { return kernels_.weights; }
  std::string layout() const override { return PackedMatrix::LayoutName(kernels_); }
  int64_t SizeBytes(const MatrixShape& shape) const override {
    return PackedMatrix::SizeBytes(shape, kernels_);
  }
  std::span<const std::byte> Bytes(const Matrix& matrix) const override {
    const auto& packed = static_cast<const PackedMatrix&>(matrix);
    return {static_cast<const std::byte*>(packed.panels()), packed.size_bytes()};
  }
  std::unique_ptr<Matrix> Load(const MatrixShape& shape, const ReadBytes& read) override {
    return PackedMatrix::Load(shape, read, kernels_, pool_);
  }

 private:
  const KernelTable& kernels_;
  ThreadPool& pool_;
};

class CpuBackend : public Backend {
 public:
  explicit CpuBackend(const CpuBackendOptions& options)
      : kernels_(ChooseKernels(options.weights, options.isa)),
        pool_(options.num_threads, options.cores, options.pin_threads),
        packed_weights_(kernels_, pool_) {}

  std::string Description() const override {
    return std::string("cpu ") + kernels_.name + ", " + std::to_string(pool_.num_threads()) +
           " threads, " + NameOf(kernels_.weights) + " weights";
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
    return std::make_unique<KvTiles>(shape, kernels_.bf16_kv ? DType::kBF16 : DType::kF32);
  }

  PackedWeights* packed_weights() override { return &packed_weights_; }

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
  // The operand as the kernels take it: quantised if the weights are.
  const void* PrepareOperand(ConstTensorView a, const PackedMatrix& w);
  void RunMatMul(void (*kernel)(const MatMulTask&), ConstTensorView a, const Matrix& w, bool add,
                 TensorView out);
  // One task per KV head and few neighbouring rows of a sequence, a head's together.
  void MakeAttentionTasks(ConstTensorView qkv, const AttentionShape& shape, const KvTiles& tiles,
                          int layer, TensorView out);
  // Does the attention tasks: when they are too few or too uneven for the threads.
  void AttendInPartitions();
  // Block table of the row's sequence.
  const int32_t* BlocksOf(int64_t row) const {
    return block_tables_.data() + int64_t{sequences_[row]} * max_blocks_per_sequence_;
  }

  // Constant after construction.
  const KernelTable& kernels_;
  ThreadPool pool_;
  CpuPackedWeights packed_weights_;

  Buffer quantized_;  // operand of the running product

  // The current batch.
  std::vector<int32_t> token_ids_;
  std::vector<int32_t> positions_;
  std::vector<int32_t> sequences_;
  std::vector<int32_t> block_tables_;
  int max_blocks_per_sequence_ = 0;

  // Of the current PagedAttention; kept for their memory.
  std::vector<AttentionTask> attention_tasks_;
  std::vector<float> partials_;
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
      float* row = x.as<float>() + i * x.cols;
      if (token_ids_[i] < 0) {
        std::fill_n(row, x.cols, 0.0f);
        continue;
      }
      const int64_t first = int64_t{token_ids_[i]} * source.cols;
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

const void* CpuBackend::PrepareOperand(ConstTensorView a, const PackedMatrix& w) {
  if (kernels_.quantize_rows == nullptr) return a.data;
  const int64_t row_bytes = w.operand_row_bytes();
  const size_t size = a.rows * row_bytes;
  if (size > quantized_.size_bytes()) quantized_ = AllocateHost(std::max(size, kOperandBytes));
  char* out = static_cast<char*>(quantized_.data());
  const bool serial = a.rows * a.cols < kSerialElements;
  pool_.ParallelFor(a.rows, serial, [&](int64_t begin, int64_t end) {
    kernels_.quantize_rows(
        {a.as<float>() + begin * a.cols, end - begin, a.cols, w.k(), out + begin * row_bytes});
  });
  return out;
}

void CpuBackend::RunMatMul(void (*kernel)(const MatMulTask&), ConstTensorView a, const Matrix& w,
                           bool add, TensorView out) {
  const auto& matrix = static_cast<const PackedMatrix&>(w);
  const void* operand = PrepareOperand(a, matrix);
  const int64_t work = a.rows * matrix.num_panels() * kernels_.panel_cols * matrix.k();
  pool_.ParallelFor(
      matrix.num_panels(), work < kSerialMultiplyAdds, [&](int64_t begin, int64_t end) {
        kernel({operand, matrix.panels(), a.rows, matrix.k(), out.cols, begin, end, out.data, add});
      });
}

void CpuBackend::MatMul(ConstTensorView a, const Matrix& w, Epilogue epilogue, TensorView out) {
  RunMatMul(kernels_.mat_mul, a, w, epilogue == Epilogue::kAdd, out);
}

void CpuBackend::GatedMatMul(ConstTensorView a, const Matrix& w, TensorView out) {
  RunMatMul(kernels_.gated_mat_mul, a, w, /*add=*/false, out);
}

void CpuBackend::RopeAndAppendKv(TensorView qkv, const AttentionShape& shape, const RopeTable& rope,
                                 KvCache& kv, int layer) {
  auto& tiles = static_cast<KvTiles&>(kv);
  const int64_t d = shape.head_dim;
  const int64_t group = shape.num_heads / shape.num_kv_heads;
  const auto append = [&](int64_t row, int head) {
    const int64_t position = positions_[row];
    float* queries = qkv.as<float>() + row * qkv.cols;
    float* keys = queries + shape.num_heads * d;
    const float* values = keys + shape.num_kv_heads * d;
    const int block = BlocksOf(row)[position / kKvBlockTokens];
    kernels_.rope_and_append_kv({queries + head * group * d, keys + head * d, values + head * d,
                                 group, d, rope.cos + position * (d / 2),
                                 rope.sin + position * (d / 2), tiles.Tile(layer, block, head),
                                 position % kKvBlockTokens});
  };
  // By rows, and in contiguous ranges, since neighbouring positions share cache
  // lines of a key tile.
  const bool serial = qkv.rows * qkv.cols < kSerialElements;
  pool_.ParallelFor(qkv.rows * shape.num_kv_heads, serial, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      append(i / shape.num_kv_heads, static_cast<int>(i % shape.num_kv_heads));
    }
  });
}

void CpuBackend::MakeAttentionTasks(ConstTensorView qkv, const AttentionShape& shape,
                                    const KvTiles& tiles, int layer, TensorView out) {
  const int64_t d = shape.head_dim;
  const int64_t group = shape.num_heads / shape.num_kv_heads;
  const int64_t most_rows = std::max(int64_t{1}, kMaxQueries / group);
  const int64_t operand_bytes = static_cast<int64_t>(SizeOf(out.dtype));
  const float scale = 1.0f / std::sqrt(static_cast<float>(d));
  attention_tasks_.clear();
  for (int64_t head = 0; head < shape.num_kv_heads; ++head) {
    for (int64_t row = 0, end; row < qkv.rows; row = end) {
      const int64_t most_end = std::min(qkv.rows, row + most_rows);
      for (end = row + 1; end < most_end && sequences_[end] == sequences_[row];) ++end;
      attention_tasks_.push_back(
          {qkv.as<float>() + row * qkv.cols + head * group * d, qkv.cols, &positions_[row],
           end - row, group, d, tiles.Tile(layer, static_cast<int>(head)), tiles.block_stride(),
           BlocksOf(row), scale,
           out.as<char>() + (row * out.cols + head * group * d) * operand_bytes, out.cols});
    }
  }
}

// Multiply-adds.
int64_t WorkOf(const AttentionTask& task) {
  int64_t tokens = 0;
  for (int64_t row = 0; row < task.rows; ++row) tokens += task.positions[row] + 1;
  return 2 * tokens * task.group * task.head_dim;
}

int64_t PartitionsOf(const AttentionTask& task) {
  return *std::max_element(task.positions, task.positions + task.rows) / kPartitionTokens + 1;
}

void CpuBackend::PagedAttention(ConstTensorView qkv, const AttentionShape& shape, const KvCache& kv,
                                int layer, TensorView out) {
  MakeAttentionTasks(qkv, shape, static_cast<const KvTiles&>(kv), layer, out);
  int64_t work = 0;
  int64_t largest = 0;
  int64_t partitions = 0;
  for (const AttentionTask& task : attention_tasks_) {
    work += WorkOf(task);
    largest = std::max(largest, WorkOf(task));
    partitions = std::max(partitions, PartitionsOf(task));
  }
  const bool serial = work < kSerialMultiplyAdds || pool_.num_threads() == 1;
  if (!serial && partitions > 1 && largest * kEvenTasksPerThread * pool_.num_threads() > work) {
    return AttendInPartitions();
  }
  // In short ranges: the later rows of a prefill chunk cost more.
  pool_.ParallelFor(static_cast<int64_t>(attention_tasks_.size()), serial, kShortRangesPerThread,
                    [&](int64_t begin, int64_t end) {
                      for (int64_t i = begin; i < end; ++i) kernels_.attention(attention_tasks_[i]);
                    });
}

void CpuBackend::AttendInPartitions() {
  struct Item {
    const AttentionTask* task;
    int64_t partition;
    int64_t partials;  // where the task's partial results start
  };
  std::vector<Item> items;
  int64_t size = 0;
  for (const AttentionTask& task : attention_tasks_) {
    const int64_t partitions = PartitionsOf(task);
    for (int64_t i = 0; i < partitions; ++i) items.push_back({&task, i, size});
    size += partitions * task.rows * task.group * PartialFloats(task.head_dim);
  }
  partials_.resize(std::max(partials_.size(), static_cast<size_t>(size)));
  pool_.ParallelFor(static_cast<int64_t>(items.size()), /*serial=*/false, kShortRangesPerThread,
                    [&](int64_t begin, int64_t end) {
                      for (int64_t i = begin; i < end; ++i) {
                        kernels_.attend_partition(*items[i].task, items[i].partition,
                                                  &partials_[items[i].partials]);
                      }
                    });
  pool_.ParallelFor(static_cast<int64_t>(items.size()), size < kSerialElements,
                    [&](int64_t begin, int64_t end) {
                      for (int64_t i = begin; i < end; ++i) {
                        if (items[i].partition > 0) continue;
                        kernels_.merge_partitions(*items[i].task, &partials_[items[i].partials]);
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
  return std::make_unique<CpuBackend>(options);
}

}  // namespace strata::kernels
