#include "engine/tokenizer/regex.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "engine/checkpoint/printable.h"
#include "fmt/format.h"

namespace strata {
namespace {

constexpr size_t kMaxPatternBytes = 32 << 10;
// Backtracking steps of one match: enough to walk a long run of spaces and back, far from enough
// for an exponential pattern.
constexpr uint32_t kMinMatchLimit = 1'000'000;
constexpr size_t kStepsPerByte = 16;
constexpr uint32_t kHeapLimitKib = 256 << 10;
constexpr size_t kJitStackStart = 32 << 10;
constexpr size_t kJitStackMax = 8 << 20;

}  // namespace

struct RegexScratch::State {
  // One pair: only the whole match is of interest, whatever groups there are.
  pcre2_match_data* data = pcre2_match_data_create(1, nullptr);
  pcre2_match_context* context = pcre2_match_context_create(nullptr);
  pcre2_jit_stack* jit_stack = pcre2_jit_stack_create(kJitStackStart, kJitStackMax, nullptr);

  ~State() {
    pcre2_jit_stack_free(jit_stack);
    pcre2_match_context_free(context);
    pcre2_match_data_free(data);
  }
};

RegexScratch::RegexScratch() : state_(std::make_unique<State>()) {
  pcre2_set_heap_limit(state_->context, kHeapLimitKib);
  pcre2_jit_stack_assign(state_->context, nullptr, state_->jit_stack);
}
RegexScratch::~RegexScratch() = default;

struct Regex::Code {
  pcre2_code* code = nullptr;
  ~Code() { pcre2_code_free(code); }
};

Regex::Regex(std::unique_ptr<Code> code) : code_(std::move(code)) {}
Regex::~Regex() = default;
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;

absl::StatusOr<Regex> Regex::CompileWith(const std::string& pattern, uint32_t extra_options) {
  if (pattern.size() > kMaxPatternBytes) {
    return absl::InvalidArgumentError(fmt::format("pattern of {} bytes, more than the limit of {}",
                                                  pattern.size(), kMaxPatternBytes));
  }
  int error = 0;
  PCRE2_SIZE offset = 0;
  auto code = std::make_unique<Code>();
  code->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                             PCRE2_UTF | extra_options, &error, &offset, nullptr);
  if (code->code == nullptr) {
    PCRE2_UCHAR message[128] = {};
    pcre2_get_error_message(error, message, sizeof(message));
    return absl::InvalidArgumentError(fmt::format("pattern {}: {} at offset {}", Quoted(pattern),
                                                  reinterpret_cast<const char*>(message), offset));
  }
  // Only faster: where there is no JIT compiler, matching is interpreted.
  pcre2_jit_compile(code->code, PCRE2_JIT_COMPLETE);
  return Regex(std::move(code));
}

absl::StatusOr<Regex> Regex::Compile(const std::string& pattern) {
  return CompileWith(pattern, PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C | PCRE2_MULTILINE);
}

absl::StatusOr<Regex> Regex::Literal(const std::string& text) {
  return CompileWith(text, PCRE2_LITERAL);
}

std::vector<Regex::Match> Regex::FindAll(std::string_view text, RegexScratch& scratch) const {
  const RegexScratch::State& state = *scratch.state_;
  pcre2_set_match_limit(state.context,
                        static_cast<uint32_t>(std::clamp<size_t>(text.size() * kStepsPerByte,
                                                                 kMinMatchLimit, UINT32_MAX)));
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  const PCRE2_SIZE* const range = pcre2_get_ovector_pointer(state.data);
  // NO_UTF_CHECK: checking all of the text at each match would make the search quadratic.
  constexpr uint32_t kOptions = PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY;
  std::vector<Match> matches;
  size_t position = 0;
  while (position < text.size()) {
    const auto match = [&](uint32_t options) {
      return pcre2_match(code_->code, subject, text.size(), position, options, state.data,
                         state.context);
    };
    int result = match(kOptions);
    if (result == PCRE2_ERROR_JIT_STACKLIMIT) result = match(kOptions | PCRE2_NO_JIT);
    if (result < 0 || range[0] < position || range[1] <= range[0]) break;
    matches.push_back({range[0], range[1]});
    position = range[1];
  }
  return matches;
}

}  // namespace strata
