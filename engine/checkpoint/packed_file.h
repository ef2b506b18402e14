// The file of a packed folder that holds the weights: safetensors, with norms and the embedding
// as the source has them, each matrix as the bytes that a backend computes with (one U8 tensor,
// kernels::PackedWeights), and what they are in the metadata.

#ifndef STRATA_ENGINE_CHECKPOINT_PACKED_FILE_H_
#define STRATA_ENGINE_CHECKPOINT_PACKED_FILE_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/checkpoint/safetensors.h"
#include "kernels/weight_format.h"

namespace strata {

inline constexpr char kPackedFileName[] = "strata-packed.safetensors";

struct PackedHeader {
  kernels::WeightFormat format = kernels::WeightFormat::kBF16;
  std::string layout;         // kernels::PackedWeights::layout
  std::string packed_by;      // the backend, for people
  std::string model_name;     // of the source: its folder may have given it
  CheckpointLicense license;  // of the source, without the text
};

std::map<std::string, std::string> ToMetadata(const PackedHeader& header);

// Immutable after Open; safe to read from several threads.
class PackedFile {
 public:
  // Errors: NOT_FOUND; INVALID_ARGUMENT if it is damaged, or of another version of this format.
  static absl::StatusOr<std::unique_ptr<PackedFile>> Open(const std::string& path);
  ~PackedFile();
  PackedFile(const PackedFile&) = delete;
  PackedFile& operator=(const PackedFile&) = delete;

  const PackedHeader& header() const { return header_; }
  const SafetensorsFile& tensors() const { return *tensors_; }

  // The tensor of a packed matrix (MatrixSpec::name). INVALID_ARGUMENT if it is missing or no
  // bytes.
  absl::StatusOr<const SafetensorsEntry*> FindMatrix(const std::string& name) const;
  // Announces that all of the entry is about to be read.
  void Prefetch(const SafetensorsEntry& entry) const;
  // Reads the entry's data from `offset` on, past the map: pages that are read once need no place
  // in this process. False if the file ends there by now, or cannot be read.
  bool Read(const SafetensorsEntry& entry, int64_t offset, std::span<std::byte> out) const;

  // INVALID_ARGUMENT: `problem`, and what to do.
  absl::Status Damaged(const std::string& problem) const;

 private:
  PackedFile() = default;
  absl::Status ReadHeader();

  std::unique_ptr<SafetensorsFile> tensors_;
  PackedHeader header_;
  int fd_ = -1;
};

// What a checkpoint's weights are held as where nobody says: as they are packed, else bf16.
kernels::WeightFormat DefaultWeightFormat(const Checkpoint& checkpoint);
// `asked`, or the default. INVALID_ARGUMENT if they are packed in another format.
absl::StatusOr<kernels::WeightFormat> ChooseWeightFormat(
    const Checkpoint& checkpoint, std::optional<kernels::WeightFormat> asked);

}  // namespace strata

#endif  // STRATA_ENGINE_CHECKPOINT_PACKED_FILE_H_
