#include "engine/tokenizer/regex_translation.h"

#include "engine/checkpoint/printable.h"
#include "engine/status_macros.h"
#include "fmt/format.h"

namespace strata {
namespace {

// Unicode's White_Space property.
constexpr std::string_view kSpaces =
    R"(\x09-\x0d\x20\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
constexpr std::string_view kWordCharacters = R"(\p{L}\p{M}\p{Nd}\p{Pc})";

class Translator {
 public:
  explicit Translator(std::string_view pattern) : pattern_(pattern) {}

  absl::StatusOr<std::string> Run() {
    while (at_ < pattern_.size()) {
      const char c = pattern_[at_];
      if (c == '\\') {
        RETURN_IF_ERROR(TakeEscape());
      } else if (in_class_) {
        RETURN_IF_ERROR(TakeInClass());
      } else if (c == '[') {
        OpenClass();
      } else if (Rest().starts_with("(?")) {
        RETURN_IF_ERROR(TakeGroup());
      } else {
        Copy(1);
      }
    }
    return std::move(out_);
  }

 private:
  std::string_view Rest() const { return pattern_.substr(at_); }
  void Copy(size_t count) {
    out_ += Rest().substr(0, count);
    at_ = std::min(at_ + count, pattern_.size());
  }
  absl::Status Refuse(std::string_view what) const {
    return absl::InvalidArgumentError(
        fmt::format("pattern {}: {} at offset {} is not supported", Quoted(pattern_), what, at_));
  }

  absl::Status TakeEscape() {
    const char kind = at_ + 1 < pattern_.size() ? pattern_[at_ + 1] : '\0';
    if (kind == 'h' || kind == 'H') return Refuse("\\h");
    if (kind == 's' || kind == 'w') {
      const std::string_view members = kind == 's' ? kSpaces : kWordCharacters;
      out_ += in_class_ ? std::string(members) : fmt::format("[{}]", members);
      at_ += 2;
    } else if ((kind == 'S' || kind == 'W') && !in_class_) {
      out_ += fmt::format("[^{}]", kind == 'S' ? kSpaces : kWordCharacters);
      at_ += 2;
    } else {
      Copy(2);
    }
    return absl::OkStatus();
  }

  void OpenClass() {
    in_class_ = true;
    Copy(1);
    if (Rest().starts_with("^")) Copy(1);
    if (Rest().starts_with("]")) Copy(1);  // the first one is a member
  }

  absl::Status TakeInClass() {
    if (Rest().starts_with("&&")) return Refuse("an intersection of classes");
    if (Rest().starts_with("[:")) {
      const size_t end = Rest().find(":]");
      if (end == std::string_view::npos) return Refuse("[:");
      Copy(end + 2);
      return absl::OkStatus();
    }
    if (Rest().starts_with("[")) return Refuse("a class in a class");
    if (Rest().starts_with("]")) in_class_ = false;
    Copy(1);
    return absl::OkStatus();
  }

  // Flags that follow "(?": Ruby's m lets '.' match newlines, PCRE2's does not.
  absl::Status TakeGroup() {
    const size_t end = Rest().find_first_not_of("imxs-", 2);
    const bool has_flags =
        end != std::string_view::npos && (Rest()[end] == ':' || Rest()[end] == ')');
    if (has_flags && Rest().substr(2, end - 2).find_first_of("ms") != std::string_view::npos) {
      return Refuse("the flag m or s");
    }
    Copy(2);
    return absl::OkStatus();
  }

  std::string_view pattern_;
  size_t at_ = 0;
  bool in_class_ = false;
  std::string out_;
};

}  // namespace

absl::StatusOr<std::string> TranslateOniguruma(std::string_view pattern) {
  return Translator(pattern).Run();
}

}  // namespace strata
