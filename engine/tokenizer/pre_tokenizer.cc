#include "engine/tokenizer/pre_tokenizer.h"

#include <optional>
#include <utility>

#include "engine/checkpoint/json_fields.h"
#include "engine/status_macros.h"
#include "engine/tokenizer/regex_translation.h"
#include "fmt/format.h"

namespace strata {
namespace {

using nlohmann::json;

constexpr char kGpt2Pattern[] =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr char kPrefix[] = "pre_tokenizer.";

// Prefixes an error with the file that the pattern comes from.
absl::StatusOr<Regex> InFile(const std::string& source, absl::StatusOr<Regex> regex) {
  if (regex.ok()) return regex;
  return absl::InvalidArgumentError(
      fmt::format("{}: {}{}", source, kPrefix, std::string(regex.status().message())));
}

absl::StatusOr<Regex> CompileOniguruma(const std::string& pattern, const std::string& source) {
  const absl::StatusOr<std::string> translated = TranslateOniguruma(pattern);
  if (!translated.ok()) return InFile(source, translated.status());
  return InFile(source, Regex::Compile(*translated));
}

}  // namespace

absl::StatusOr<PreTokenizer> PreTokenizer::Create(const json& definition,
                                                  const std::string& source) {
  PreTokenizer pre_tokenizer;
  if (definition.is_object()) RETURN_IF_ERROR(pre_tokenizer.AddSteps(definition, source));
  if (!pre_tokenizer.has_byte_level_) {
    return absl::InvalidArgumentError(
        fmt::format("{}: pre_tokenizer has no ByteLevel; of tokenizer.json only byte-level BPE is "
                    "supported, a sentencepiece model needs its tokenizer.model",
                    source));
  }
  return pre_tokenizer;
}

absl::Status PreTokenizer::AddSteps(const json& definition, const std::string& source) {
  const JsonFields fields(definition, source, kPrefix);
  ASSIGN_OR_RETURN(const std::optional<std::string> type, fields.String("type"));
  if (type == "ByteLevel") return AddByteLevel(definition, source);
  if (type == "Split") return AddSplit(definition, source);
  if (type == "Digits") return AddDigits(definition, source);
  const json* parts = fields.Find("pretokenizers");
  if (type == "Sequence" && parts != nullptr && parts->is_array()) {
    for (const json& part : *parts) {
      if (!part.is_object()) return fields.Unexpected("pretokenizers", *parts, "objects");
      RETURN_IF_ERROR(AddSteps(part, source));  // as deep as kMaxJsonDepth lets it be
    }
    return absl::OkStatus();
  }
  return fields.Unexpected("type", type ? json(*type) : json(),
                           "one of ByteLevel, Split, Digits, Sequence");
}

absl::Status PreTokenizer::AddByteLevel(const json& definition, const std::string& source) {
  const JsonFields fields(definition, source, kPrefix);
  ASSIGN_OR_RETURN(const std::optional<bool> prefix_space, fields.Bool("add_prefix_space"));
  // Both are true where the file is silent.
  if (prefix_space.value_or(true)) {
    return fields.Unexpected("add_prefix_space", prefix_space.value_or(true),
                             "false: a prefix space is not supported");
  }
  has_byte_level_ = true;
  ASSIGN_OR_RETURN(const std::optional<bool> use_regex, fields.Bool("use_regex"));
  if (!use_regex.value_or(true)) return absl::OkStatus();
  ASSIGN_OR_RETURN(Regex regex, CompileOniguruma(kGpt2Pattern, source));
  steps_.push_back({std::move(regex)});
  return absl::OkStatus();
}

absl::Status PreTokenizer::AddSplit(const json& definition, const std::string& source) {
  const JsonFields fields(definition, source, kPrefix);
  const json* pattern = fields.Find("pattern");
  if (pattern == nullptr || !pattern->is_object()) {
    return fields.Unexpected("pattern", pattern == nullptr ? json() : *pattern, "an object");
  }
  const JsonFields pattern_fields(*pattern, source, std::string(kPrefix) + "pattern.");
  ASSIGN_OR_RETURN(const std::optional<std::string> expression, pattern_fields.String("Regex"));
  ASSIGN_OR_RETURN(const std::optional<std::string> literal, pattern_fields.String("String"));
  if (expression.has_value() == literal.has_value()) {
    return fields.Unexpected("pattern", *pattern, "one of Regex and String");
  }
  ASSIGN_OR_RETURN(Regex regex, expression ? CompileOniguruma(*expression, source)
                                           : InFile(source, Regex::Literal(*literal)));
  Step step{std::move(regex)};
  ASSIGN_OR_RETURN(const std::optional<std::string> behavior, fields.String("behavior"));
  ASSIGN_OR_RETURN(const std::optional<bool> invert, fields.Bool("invert"));
  if (behavior == "Removed") {
    step.keep_matches = invert.value_or(false);
    step.keep_others = !step.keep_matches;
  } else if (behavior != "Isolated") {
    return fields.Unexpected("behavior", behavior ? json(*behavior) : json(),
                             "\"Isolated\" or \"Removed\"");
  }
  steps_.push_back(std::move(step));
  return absl::OkStatus();
}

absl::Status PreTokenizer::AddDigits(const json& definition, const std::string& source) {
  const JsonFields fields(definition, source, kPrefix);
  ASSIGN_OR_RETURN(const std::optional<bool> individual, fields.Bool("individual_digits"));
  ASSIGN_OR_RETURN(Regex regex, Regex::Compile(individual.value_or(false) ? "\\p{N}" : "\\p{N}+"));
  steps_.push_back({std::move(regex)});
  return absl::OkStatus();
}

std::vector<std::string_view> PreTokenizer::Split(std::string_view text,
                                                  RegexScratch& scratch) const {
  std::vector<std::string_view> pieces;
  if (!text.empty()) pieces.push_back(text);
  for (const Step& step : steps_) {
    std::vector<std::string_view> next;
    for (const std::string_view piece : pieces) {
      const auto keep = [&](size_t begin, size_t end, bool is_kept) {
        if (is_kept && begin < end) next.push_back(piece.substr(begin, end - begin));
      };
      size_t end = 0;
      for (const Regex::Match& match : step.regex.FindAll(piece, scratch)) {
        keep(end, match.begin, step.keep_others);
        keep(match.begin, match.end, step.keep_matches);
        end = match.end;
      }
      keep(end, piece.size(), step.keep_others);
    }
    pieces = std::move(next);
  }
  return pieces;
}

}  // namespace strata
