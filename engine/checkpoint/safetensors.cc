#include "engine/checkpoint/safetensors.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>

#include "engine/checkpoint/json_fields.h"
#include "engine/checkpoint/json_file.h"
#include "engine/checkpoint/printable.h"
#include "engine/status_macros.h"
#include "fmt/format.h"

namespace strata {
namespace {

using nlohmann::json;

constexpr uint64_t kLengthBytes = 8;

// Bytes of one element; nullopt for types that came after this was written.
std::optional<uint64_t> ElementBytes(std::string_view dtype) {
  static constexpr std::pair<std::string_view, uint64_t> kSizes[] = {
      {"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E5M2", 1}, {"F8_E4M3", 1},
      {"I16", 2},  {"U16", 2}, {"F16", 2}, {"BF16", 2},    {"I32", 4},
      {"U32", 4},  {"F32", 4}, {"F64", 8}, {"I64", 8},     {"U64", 8}};
  for (const auto& [name, bytes] : kSizes) {
    if (name == dtype) return bytes;
  }
  return std::nullopt;
}

// What may be wrong with one file, for messages that name it and say what to do.
class HeaderReader {
 public:
  HeaderReader(std::string path, std::string_view remedy, const MappedFile& map)
      : path_(std::move(path)), remedy_(remedy), begin_(map.data()), file_bytes_(map.size()) {}

  absl::StatusOr<json> ReadHeader();
  absl::StatusOr<SafetensorsEntry> ReadEntry(const std::string& name, const json& entry) const;
  // Ranges of all tensors, in data order: each starts where the one before ends.
  absl::Status CheckCoverage(const std::map<std::string, SafetensorsEntry, std::less<>>& all) const;

 private:
  absl::Status Damaged(std::string_view problem) const {
    return absl::InvalidArgumentError(
        fmt::format("{}: {}; the file is damaged, {}", path_, problem, remedy_));
  }
  absl::Status BadTensor(std::string_view name, std::string_view problem) const {
    return Damaged(fmt::format("tensor {}: {}", Quoted(name), problem));
  }
  absl::StatusOr<std::vector<int64_t>> ReadShape(const std::string& name, const json& entry) const;
  absl::Status ReadOffsets(const std::string& name, const json& entry, SafetensorsEntry& out) const;
  absl::Status CheckSize(const std::string& name, const SafetensorsEntry& entry) const;

  std::string path_;
  std::string remedy_;
  const std::byte* begin_;
  uint64_t file_bytes_;
  uint64_t data_start_ = 0;  // from the start of the file
};

absl::StatusOr<json> HeaderReader::ReadHeader() {
  if (file_bytes_ < kLengthBytes) {
    return Damaged(fmt::format("{} bytes are too few for a safetensors file", file_bytes_));
  }
  uint64_t header_bytes = 0;
  for (uint64_t i = 0; i < kLengthBytes; ++i) {
    header_bytes |= static_cast<uint64_t>(begin_[i]) << (8 * i);
  }
  if (header_bytes > SafetensorsFile::kMaxHeaderBytes) {
    return Damaged(fmt::format("the header claims {} bytes, more than the format's limit of {}",
                               header_bytes, SafetensorsFile::kMaxHeaderBytes));
  }
  if (header_bytes > file_bytes_ - kLengthBytes) {
    return Damaged(fmt::format("the header claims {} bytes but only {} follow", header_bytes,
                               file_bytes_ - kLengthBytes));
  }
  data_start_ = kLengthBytes + header_bytes;
  return ParseJsonObject({reinterpret_cast<const char*>(begin_) + kLengthBytes, header_bytes},
                         path_ + ": header");
}

absl::StatusOr<std::vector<int64_t>> HeaderReader::ReadShape(const std::string& name,
                                                             const json& entry) const {
  const auto shape = entry.find("shape");
  if (shape == entry.end() || !shape->is_array()) return BadTensor(name, "no shape array");
  if (shape->size() > SafetensorsFile::kMaxRank) {
    return BadTensor(name, fmt::format("{} dimensions, more than the limit of {}", shape->size(),
                                       SafetensorsFile::kMaxRank));
  }
  std::vector<int64_t> dims;
  for (const json& dim : *shape) {
    constexpr auto kMax = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
    if (!dim.is_number_unsigned() || dim.get<uint64_t>() > kMax) {
      return BadTensor(name, fmt::format("dimension {} of the shape is not a size", ShowJson(dim)));
    }
    dims.push_back(static_cast<int64_t>(dim.get<uint64_t>()));
  }
  return dims;
}

absl::Status HeaderReader::ReadOffsets(const std::string& name, const json& entry,
                                       SafetensorsEntry& out) const {
  const auto offsets = entry.find("data_offsets");
  if (offsets == entry.end() || !offsets->is_array() || offsets->size() != 2) {
    return BadTensor(name, "no data_offsets pair");
  }
  for (const json& offset : *offsets) {
    if (!offset.is_number_unsigned()) {
      return BadTensor(name, fmt::format("data offset {} is not a position", ShowJson(offset)));
    }
  }
  const auto first = (*offsets)[0].get<uint64_t>();
  const auto last = (*offsets)[1].get<uint64_t>();
  const uint64_t data_bytes = file_bytes_ - data_start_;
  if (first > last || last > data_bytes) {
    return BadTensor(name, fmt::format("data offsets [{}, {}) do not lie in the {} bytes of data",
                                       first, last, data_bytes));
  }
  out.data = begin_ + data_start_ + first;
  out.size_bytes = last - first;
  return absl::OkStatus();
}

absl::Status HeaderReader::CheckSize(const std::string& name, const SafetensorsEntry& entry) const {
  const std::optional<uint64_t> element_bytes = ElementBytes(entry.dtype);
  if (!element_bytes) return absl::OkStatus();
  // An empty dimension makes the size 0 whatever the others are.
  const bool is_empty = std::find(entry.shape.begin(), entry.shape.end(), 0) != entry.shape.end();
  uint64_t bytes = is_empty ? 0 : *element_bytes;
  for (const int64_t dim : entry.shape) {
    if (__builtin_mul_overflow(bytes, static_cast<uint64_t>(dim), &bytes)) {
      return BadTensor(name, fmt::format("shape [{}] overflows", fmt::join(entry.shape, ", ")));
    }
  }
  if (bytes == entry.size_bytes) return absl::OkStatus();
  return BadTensor(name,
                   fmt::format("shape [{}] of {} needs {} bytes, data_offsets give {}",
                               fmt::join(entry.shape, ", "), entry.dtype, bytes, entry.size_bytes));
}

absl::StatusOr<SafetensorsEntry> HeaderReader::ReadEntry(const std::string& name,
                                                         const json& entry) const {
  if (!entry.is_object()) {
    return BadTensor(name, fmt::format("its entry is {}, not an object", ShowJson(entry)));
  }
  const auto dtype = entry.find("dtype");
  if (dtype == entry.end() || !dtype->is_string()) return BadTensor(name, "no dtype string");
  SafetensorsEntry out;
  out.dtype = Printable(dtype->get<std::string>(), 20);
  ASSIGN_OR_RETURN(out.shape, ReadShape(name, entry));
  RETURN_IF_ERROR(ReadOffsets(name, entry, out));
  RETURN_IF_ERROR(CheckSize(name, out));
  return out;
}

absl::Status HeaderReader::CheckCoverage(
    const std::map<std::string, SafetensorsEntry, std::less<>>& all) const {
  std::vector<const std::pair<const std::string, SafetensorsEntry>*> order;
  order.reserve(all.size());
  for (const auto& item : all) order.push_back(&item);
  std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    // By end as well, so that an empty tensor comes before the one that starts where it lies.
    return std::pair(a->second.data, a->second.size_bytes) <
           std::pair(b->second.data, b->second.size_bytes);
  });
  const std::byte* const data = begin_ + data_start_;
  const std::byte* end = data;
  for (const auto* item : order) {
    const auto& [name, entry] = *item;
    if (entry.data < end) {
      return BadTensor(name, fmt::format("its data, from offset {}, overlaps another tensor's",
                                         entry.data - data));
    }
    if (entry.data > end) {
      return BadTensor(
          name, fmt::format("{} bytes before its data belong to no tensor", entry.data - end));
    }
    end = entry.data + entry.size_bytes;
  }
  const std::byte* const file_end = begin_ + file_bytes_;
  if (end == file_end) return absl::OkStatus();
  return Damaged(fmt::format("the last {} bytes belong to no tensor", file_end - end));
}

// None if it is no object: other programs' metadata are no concern of ours.
std::map<std::string, std::string> StringsOf(const json& metadata) {
  std::map<std::string, std::string> strings;
  if (!metadata.is_object()) return strings;
  for (const auto& [key, value] : metadata.items()) {
    if (value.is_string()) strings[key] = value.get<std::string>();
  }
  return strings;
}

}  // namespace

absl::StatusOr<std::unique_ptr<SafetensorsFile>> SafetensorsFile::Open(const std::string& path,
                                                                       std::string_view remedy) {
  std::unique_ptr<SafetensorsFile> file(new SafetensorsFile);
  file->path_ = path;
  ASSIGN_OR_RETURN(file->map_, MappedFile::Open(path));
  HeaderReader reader(path, remedy, *file->map_);
  ASSIGN_OR_RETURN(const json header, reader.ReadHeader());
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") {
      file->metadata_ = StringsOf(entry);
      continue;
    }
    ASSIGN_OR_RETURN(SafetensorsEntry checked, reader.ReadEntry(name, entry));
    file->entries_.emplace(name, std::move(checked));
  }
  RETURN_IF_ERROR(reader.CheckCoverage(file->entries_));
  return file;
}

const SafetensorsEntry* SafetensorsFile::Find(std::string_view name) const {
  const auto it = entries_.find(name);
  return it == entries_.end() ? nullptr : &it->second;
}

}  // namespace strata
