#include "engine/token_count_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <system_error>

#include "engine/checkpoint/json_file.h"
#include "engine/checkpoint/printable.h"
#include "engine/status_macros.h"

namespace strata {
namespace {

// A line takes 20 bytes or so: vocabularies of millions.
constexpr size_t kMaxFileBytes = 64 << 20;
constexpr char kBlanks[] = " \t\r";

// Takes the next word off `line`; empty at its end.
std::string_view TakeWord(std::string_view& line) {
  line.remove_prefix(std::min(line.find_first_not_of(kBlanks), line.size()));
  const std::string_view word = line.substr(0, line.find_first_of(kBlanks));
  line.remove_prefix(word.size());
  return word;
}

std::optional<int64_t> TakeNumber(std::string_view& line) {
  const std::string_view word = TakeWord(line);
  int64_t value = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (error != std::errc() || end != word.data() + word.size()) return std::nullopt;
  return value;
}

struct TokenCount {
  int64_t id = 0;
  int64_t count = 0;
};

// nullopt: an empty line.
absl::StatusOr<std::optional<TokenCount>> ParseLine(std::string_view line, int vocab_size) {
  std::string_view rest = line;
  if (TakeWord(rest).empty()) return std::nullopt;
  rest = line;
  const std::optional<int64_t> id = TakeNumber(rest);
  const std::optional<int64_t> count = TakeNumber(rest);
  if (!id || !count || !TakeWord(rest).empty()) {
    return absl::InvalidArgumentError(
        fmt::format("{} is not a token id and its count, two whole numbers", Quoted(line)));
  }
  if (*id < 0 || *id >= vocab_size) {
    return absl::InvalidArgumentError(
        fmt::format("token id {} is out of range [0, {}]", *id, vocab_size - 1));
  }
  if (*count < 0) return absl::InvalidArgumentError(fmt::format("count {} is negative", *count));
  return TokenCount{*id, *count};
}

}  // namespace

absl::StatusOr<std::vector<double>> ReadTokenCounts(const std::string& path, int vocab_size) {
  ASSIGN_OR_RETURN(const std::string content, ReadWholeFile(path, kMaxFileBytes));
  const auto error_at = [&](int line, const std::string& message) {
    return absl::InvalidArgumentError(fmt::format("{}:{}: {}", path, line, message));
  };
  std::vector<double> counts(vocab_size);
  std::vector<int> lines(vocab_size);  // where each token was; 0: nowhere
  std::string_view rest = content;
  bool any = false;
  for (int number = 1; !rest.empty(); ++number) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
    const auto entry = ParseLine(line, vocab_size);
    if (!entry.ok()) return error_at(number, std::string(entry.status().message()));
    if (!*entry) continue;
    const auto [id, count] = **entry;
    if (lines[id] > 0) {
      return error_at(number,
                      fmt::format("token id {} has a count in line {} already", id, lines[id]));
    }
    lines[id] = number;
    counts[id] = static_cast<double>(count);
    any = true;
  }
  if (!any) return absl::InvalidArgumentError(fmt::format("{}: holds no token counts", path));
  return counts;
}

}  // namespace strata
