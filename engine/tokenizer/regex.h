// Regular expressions over UTF-8, bounded in what they may cost.

#ifndef STRATA_ENGINE_TOKENIZER_REGEX_H_
#define STRATA_ENGINE_TOKENIZER_REGEX_H_

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace strata {

// What one thread needs while it matches; reusable, not shared.
class RegexScratch {
 public:
  RegexScratch();
  ~RegexScratch();
  RegexScratch(const RegexScratch&) = delete;
  RegexScratch& operator=(const RegexScratch&) = delete;

 private:
  friend class Regex;
  struct State;
  std::unique_ptr<State> state_;
};

// A compiled pattern. Immutable; safe to use from several threads, each with its own scratch.
class Regex {
 public:
  struct Match {
    size_t begin;
    size_t end;
  };

  // Compiles a pattern in PCRE2's syntax, with Unicode properties.
  // INVALID_ARGUMENT says where it is wrong.
  static absl::StatusOr<Regex> Compile(const std::string& pattern);
  // Matches exactly `text`.
  static absl::StatusOr<Regex> Literal(const std::string& text);

  ~Regex();
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;

  // All matches from left to right, not empty and not overlapping. A search
  // that costs more than its limits ends there: what follows has no matches.
  // REQUIRES: `text` is valid UTF-8.
  std::vector<Match> FindAll(std::string_view text, RegexScratch& scratch) const;

 private:
  struct Code;
  explicit Regex(std::unique_ptr<Code> code);
  static absl::StatusOr<Regex> CompileWith(const std::string& pattern, uint32_t extra_options);

  std::unique_ptr<Code> code_;
};

}  // namespace strata

#endif  // STRATA_ENGINE_TOKENIZER_REGEX_H_
