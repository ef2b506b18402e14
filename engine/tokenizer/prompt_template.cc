#include "engine/tokenizer/prompt_template.h"

#include <optional>

#include "engine/checkpoint/json_fields.h"
#include "engine/checkpoint/printable.h"
#include "engine/status_macros.h"
#include "fmt/format.h"

namespace strata {
namespace {

using nlohmann::json;

constexpr char kPrefix[] = "post_processor.";
constexpr size_t kMaxTemplateTokens = 64;

// The ids of special token `name`, listed in the processor's "special_tokens".
absl::StatusOr<std::vector<TokenId>> IdsOf(const std::string& name, const JsonFields& fields,
                                           int num_tokens) {
  const json* special_tokens = fields.Find("special_tokens");
  const json* ids = nullptr;
  if (special_tokens != nullptr && special_tokens->is_object() && special_tokens->contains(name)) {
    const json& token = (*special_tokens)[name];
    if (token.is_object() && token.contains("ids") && token["ids"].is_array()) ids = &token["ids"];
  }
  if (ids == nullptr || ids->size() > kMaxTemplateTokens) {
    return fields.Unexpected("special_tokens", special_tokens == nullptr ? json() : *special_tokens,
                             fmt::format("ids of {}", Quoted(name)));
  }
  std::vector<TokenId> out;
  for (const json& id : *ids) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() >= static_cast<uint64_t>(num_tokens)) {
      return fields.Unexpected("special_tokens", id,
                               fmt::format("ids of tokens, below {}", num_tokens));
    }
    out.push_back(static_cast<TokenId>(id.get<uint64_t>()));
  }
  return out;
}

// "single": special tokens and, once, the text's own sequence.
absl::Status ReadSingle(const JsonFields& fields, int num_tokens, PromptTemplate& out) {
  const json* single = fields.Find("single");
  if (single == nullptr || !single->is_array() || single->size() > kMaxTemplateTokens) {
    return fields.Unexpected("single", single == nullptr ? json() : *single,
                             "an array of SpecialToken and Sequence");
  }
  bool is_after_text = false;
  for (const json& part : *single) {
    if (part.is_object() && part.contains("Sequence") && !is_after_text) {
      is_after_text = true;
      continue;
    }
    const json token = part.is_object() ? part.value("SpecialToken", json()) : json();
    const json name = token.is_object() ? token.value("id", json()) : json();
    if (!name.is_string()) {
      return fields.Unexpected("single", part, "a SpecialToken or the only Sequence");
    }
    ASSIGN_OR_RETURN(const std::vector<TokenId> ids,
                     IdsOf(name.get<std::string>(), fields, num_tokens));
    std::vector<TokenId>& side = is_after_text ? out.suffix : out.prefix;
    side.insert(side.end(), ids.begin(), ids.end());
  }
  if (is_after_text) return absl::OkStatus();
  return fields.Unexpected("single", *single, "a Sequence among its parts");
}

absl::Status ReadProcessor(const json& processor, const std::string& source, int num_tokens,
                           PromptTemplate& out) {
  const JsonFields fields(processor, source, kPrefix);
  ASSIGN_OR_RETURN(const std::optional<std::string> type, fields.String("type"));
  if (type == "ByteLevel") return absl::OkStatus();
  if (type == "TemplateProcessing") return ReadSingle(fields, num_tokens, out);
  const json* parts = fields.Find("processors");
  if (type == "Sequence" && parts != nullptr && parts->is_array()) {
    for (const json& part : *parts) {
      if (!part.is_object()) return fields.Unexpected("processors", part, "objects");
      RETURN_IF_ERROR(ReadProcessor(part, source, num_tokens, out));
    }
    return absl::OkStatus();
  }
  return fields.Unexpected("type", type ? json(*type) : json(),
                           "one of TemplateProcessing, ByteLevel, Sequence");
}

}  // namespace

absl::StatusOr<PromptTemplate> ReadPromptTemplate(const json& root, const std::string& source,
                                                  int num_tokens) {
  PromptTemplate out;
  const JsonFields fields(root, source);
  const json* processor = fields.Find("post_processor");
  if (processor == nullptr) return out;
  if (!processor->is_object()) {
    return fields.Unexpected("post_processor", *processor, "an object or null");
  }
  RETURN_IF_ERROR(ReadProcessor(*processor, source, num_tokens, out));
  return out;
}

}  // namespace strata
