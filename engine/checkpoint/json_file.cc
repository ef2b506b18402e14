#include "engine/checkpoint/json_file.h"

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <utility>
#include <vector>

#include "engine/checkpoint/printable.h"
#include "engine/status_macros.h"
#include "fmt/format.h"

namespace strata {
namespace {

using nlohmann::json;

// Builds the value, and stops at the first thing that we refuse. nlohmann's own
// builder keeps the last of two equal keys and has no bound on depth.
class BoundedBuilder : public nlohmann::json_sax<json> {
 public:
  bool null() override { return Add(nullptr); }
  bool boolean(bool value) override { return Add(value); }
  bool number_integer(number_integer_t value) override { return Add(value); }
  bool number_unsigned(number_unsigned_t value) override { return Add(value); }
  bool number_float(number_float_t value, const string_t&) override { return Add(value); }
  bool string(string_t& value) override { return Add(std::move(value)); }
  bool binary(binary_t&) override { return Fail("binary values are not JSON"); }
  bool start_object(size_t) override { return Open(json::object()); }
  bool end_object() override { return Close(); }
  bool start_array(size_t) override { return Open(json::array()); }
  bool end_array() override { return Close(); }

  bool key(string_t& key) override {
    auto [it, is_new] = open_.back()->get_ref<json::object_t&>().try_emplace(key, nullptr);
    if (!is_new) return Fail(fmt::format("key {} appears twice in one object", Quoted(key)));
    slot_ = &it->second;
    return true;
  }

  bool parse_error(size_t, const std::string&, const json::exception& error) override {
    // "[json.exception.parse_error.101] parse error at line 1, ..."
    const std::string_view what = error.what();
    const size_t bracket = what.find("] ");
    return Fail(Printable(bracket == what.npos ? what : what.substr(bracket + 2), 240));
  }

  json TakeRoot() { return std::move(root_); }
  const std::string& error() const { return error_; }

 private:
  bool Fail(std::string error) {
    error_ = std::move(error);
    return false;
  }

  // Where the next value goes: the key just read, the end of an array, or the root.
  json* Place(json&& value) {
    if (open_.empty()) return &(root_ = std::move(value));
    if (!open_.back()->is_array()) return &(*slot_ = std::move(value));
    auto& array = open_.back()->get_ref<json::array_t&>();
    array.push_back(std::move(value));
    return &array.back();
  }

  bool Add(json value) {
    if (++num_values_ > kMaxJsonValues) {
      return Fail(fmt::format("more than {} values", kMaxJsonValues));
    }
    Place(std::move(value));
    return true;
  }

  bool Open(json value) {
    if (open_.size() >= kMaxJsonDepth) {
      return Fail(fmt::format("nested deeper than {} levels", kMaxJsonDepth));
    }
    if (++num_values_ > kMaxJsonValues) {
      return Fail(fmt::format("more than {} values", kMaxJsonValues));
    }
    // A parent's address is stable while its child is open: nothing is appended to it meanwhile.
    open_.push_back(Place(std::move(value)));
    return true;
  }

  bool Close() {
    open_.pop_back();
    return true;
  }

  json root_;
  std::vector<json*> open_;
  json* slot_ = nullptr;
  size_t num_values_ = 0;
  std::string error_;
};

}  // namespace

absl::StatusOr<json> ParseJsonObject(std::string_view text, std::string_view source) {
  BoundedBuilder builder;
  if (!json::sax_parse(text.begin(), text.end(), &builder)) {
    return absl::InvalidArgumentError(
        fmt::format("{}: not valid JSON: {}; restore the original file", source, builder.error()));
  }
  json root = builder.TakeRoot();
  if (!root.is_object()) {
    return absl::InvalidArgumentError(
        fmt::format("{}: holds a JSON {}, expected an object", source, root.type_name()));
  }
  return root;
}

absl::StatusOr<std::string> ReadWholeFile(const std::string& path, size_t max_bytes) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status)) {
    return absl::NotFoundError(fmt::format("{}: no such file", path));
  }
  if (!std::filesystem::is_regular_file(status)) {
    return absl::InvalidArgumentError(fmt::format("{}: not a regular file", path));
  }
  const uintmax_t size = std::filesystem::file_size(path, error);
  if (error) return absl::InvalidArgumentError(fmt::format("{}: {}", path, error.message()));
  if (size > max_bytes) {
    return absl::InvalidArgumentError(
        fmt::format("{}: {} bytes, more than the limit of {}", path, size, max_bytes));
  }
  std::string content(size, '\0');
  std::ifstream in(path, std::ios::binary);
  in.read(content.data(), static_cast<std::streamsize>(size));
  if (!in || in.gcount() != static_cast<std::streamsize>(size)) {
    return absl::InvalidArgumentError(
        fmt::format("{}: cannot be read; check its permissions", path));
  }
  return content;
}

absl::StatusOr<json> ReadJsonFile(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadWholeFile(path, kMaxJsonFileBytes));
  return ParseJsonObject(text, path);
}

bool FileExists(const std::string& path) {
  std::error_code error;
  return std::filesystem::exists(path, error);
}

}  // namespace strata
