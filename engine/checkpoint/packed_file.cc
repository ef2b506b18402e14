#include "engine/checkpoint/packed_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "engine/checkpoint/printable.h"
#include "engine/status_macros.h"
#include "fmt/format.h"

namespace strata {
namespace {

// Of what the metadata mean and which tensors there are; how a matrix's bytes are laid out has a
// name of its own.
constexpr char kVersion[] = "1";

constexpr char kVersionKey[] = "strata_packed_version";
constexpr char kFormatKey[] = "weight_format";
constexpr char kLayoutKey[] = "layout";
constexpr char kPackedByKey[] = "packed_by";
constexpr char kModelNameKey[] = "model_name";
constexpr char kLicenseKey[] = "license";
constexpr char kAcceptanceKey[] = "license_needs_acceptance";

constexpr char kRemedy[] = "pack the original checkpoint again with strata-server --save-packed";

}  // namespace

std::map<std::string, std::string> ToMetadata(const PackedHeader& header) {
  return {{kVersionKey, kVersion},
          {kFormatKey, kernels::NameOf(header.format)},
          {kLayoutKey, header.layout},
          {kPackedByKey, header.packed_by},
          {kModelNameKey, header.model_name},
          {kLicenseKey, header.license.id},
          {kAcceptanceKey, header.license.needs_acceptance ? "yes" : "no"}};
}

absl::StatusOr<std::unique_ptr<PackedFile>> PackedFile::Open(const std::string& path) {
  std::unique_ptr<PackedFile> file(new PackedFile);
  ASSIGN_OR_RETURN(file->tensors_, SafetensorsFile::Open(path, kRemedy));
  RETURN_IF_ERROR(file->ReadHeader());
  file->fd_ = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file->fd_ < 0) return file->Damaged("cannot be opened");
  return file;
}

PackedFile::~PackedFile() {
  if (fd_ >= 0) close(fd_);
}

absl::Status PackedFile::Damaged(const std::string& problem) const {
  return absl::InvalidArgumentError(fmt::format("{}: {}; {}", tensors_->path(), problem, kRemedy));
}

absl::Status PackedFile::ReadHeader() {
  const auto& metadata = tensors_->metadata();
  const auto read = [&](const char* key) -> std::string {
    const auto it = metadata.find(key);
    return it == metadata.end() ? "" : Printable(it->second, 256);
  };
  if (const std::string version = read(kVersionKey); version != kVersion) {
    return Damaged(fmt::format("its format has version '{}', this strata-server reads version {}",
                               version, kVersion));
  }
  const std::string format = read(kFormatKey);
  if (!kernels::ParseWeightFormat(format.c_str(), &header_.format)) {
    return Damaged(fmt::format("weight format '{}' is unknown", format));
  }
  for (const char* key : {kLayoutKey, kModelNameKey, kLicenseKey, kAcceptanceKey}) {
    if (!metadata.contains(key)) return Damaged(fmt::format("its metadata lack '{}'", key));
  }
  header_.layout = read(kLayoutKey);
  header_.packed_by = read(kPackedByKey);
  header_.model_name = read(kModelNameKey);
  header_.license.id = read(kLicenseKey);
  header_.license.needs_acceptance = read(kAcceptanceKey) != "no";
  return absl::OkStatus();
}

absl::StatusOr<const SafetensorsEntry*> PackedFile::FindMatrix(const std::string& name) const {
  const SafetensorsEntry* entry = tensors_->Find(name);
  if (entry == nullptr) {
    return Damaged(fmt::format("matrix {} is missing, but config.json implies it", Quoted(name)));
  }
  if (entry->dtype != "U8") {
    return Damaged(fmt::format("matrix {} has type {}, expected U8", Quoted(name), entry->dtype));
  }
  return entry;
}

void PackedFile::Prefetch(const SafetensorsEntry& entry) const {
  // Several threads read one file at several places, which defeats the system's own read-ahead.
  posix_fadvise(fd_, tensors_->OffsetOf(entry), static_cast<off_t>(entry.size_bytes),
                POSIX_FADV_WILLNEED);
}

bool PackedFile::Read(const SafetensorsEntry& entry, int64_t offset,
                      std::span<std::byte> out) const {
  int64_t position = tensors_->OffsetOf(entry) + offset;
  while (!out.empty()) {
    const ssize_t count = pread(fd_, out.data(), out.size(), position);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    position += count;
    out = out.subspan(static_cast<size_t>(count));
  }
  return true;
}

kernels::WeightFormat DefaultWeightFormat(const Checkpoint& checkpoint) {
  if (checkpoint.packed() == nullptr) return kernels::WeightFormat::kBF16;
  return checkpoint.packed()->header().format;
}

absl::StatusOr<kernels::WeightFormat> ChooseWeightFormat(
    const Checkpoint& checkpoint, std::optional<kernels::WeightFormat> asked) {
  const kernels::WeightFormat format = asked.value_or(DefaultWeightFormat(checkpoint));
  if (checkpoint.packed() == nullptr || format == DefaultWeightFormat(checkpoint)) return format;
  return absl::InvalidArgumentError(
      fmt::format("{}: its weights are packed as {}, not {}; leave --dtype out, or take the "
                  "original checkpoint",
                  checkpoint.folder(), kernels::NameOf(DefaultWeightFormat(checkpoint)),
                  kernels::NameOf(format)));
}

}  // namespace strata
