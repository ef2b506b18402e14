#include "engine/tokenizer/bpe_definition.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "engine/checkpoint/json_fields.h"
#include "engine/checkpoint/printable.h"
#include "engine/status_macros.h"
#include "engine/tokenizer/byte_alphabet.h"
#include "engine/tokenizer/prompt_template.h"
#include "fmt/format.h"

namespace strata {
namespace {

using nlohmann::json;

// Bounds the steps that the search for added tokens takes at each byte.
constexpr size_t kMaxAddedTokenBytes = 1024;

bool IsEmpty(const json* value) { return value == nullptr || (value->is_string() && *value == ""); }

class Reader {
 public:
  Reader(const json& root, const std::string& source, int vocab_size)
      : root_(root), fields_(root, source), source_(source), vocab_size_(vocab_size) {}

  absl::StatusOr<BpeDefinition> Read() {
    RETURN_IF_ERROR(CheckNormalizer());
    RETURN_IF_ERROR(CheckDecoder());
    const json* model = fields_.Find("model");
    if (model == nullptr || !model->is_object()) return Error("no model object");
    RETURN_IF_ERROR(CheckModel(*model));
    ASSIGN_OR_RETURN(BpeDefinition definition, ReadTokens(*model));
    RETURN_IF_ERROR(ReadMerges(*model, definition));
    RETURN_IF_ERROR(FindByteTokens(definition));
    ASSIGN_OR_RETURN(
        const PromptTemplate around,
        ReadPromptTemplate(root_, source_, static_cast<int>(definition.tokens.size())));
    definition.prefix = around.prefix;
    definition.suffix = around.suffix;
    return definition;
  }

 private:
  absl::Status Error(std::string_view problem) const {
    return absl::InvalidArgumentError(fmt::format("{}: {}", source_, problem));
  }

  absl::Status CheckNormalizer() const;
  absl::Status CheckDecoder() const;
  absl::Status CheckModel(const json& model) const;
  absl::StatusOr<BpeDefinition> ReadTokens(const json& model) const;
  absl::Status ReadVocabulary(const json& model, BpeDefinition& out) const;
  absl::Status ReadAddedTokens(BpeDefinition& out) const;
  absl::Status ReadAddedToken(const json& entry, BpeDefinition& out) const;
  absl::Status ReadMerges(const json& model, BpeDefinition& out) const;
  absl::Status AddMerge(const json& merge, int32_t rank, BpeDefinition& out) const;
  absl::Status FindByteTokens(BpeDefinition& out) const;
  // Checks that `id` is below vocab_size and makes room for it.
  absl::StatusOr<TokenId> ClaimId(std::string_view piece, const json& id, BpeDefinition& out) const;

  const json& root_;
  JsonFields fields_;
  const std::string& source_;
  int vocab_size_;
};

absl::Status Reader::CheckNormalizer() const {
  const json* normalizer = fields_.Find("normalizer");
  if (normalizer == nullptr) return absl::OkStatus();
  const auto parts = normalizer->find("normalizers");
  if (parts != normalizer->end() && parts->is_array() && parts->empty()) return absl::OkStatus();
  return fields_.Unexpected("normalizer", *normalizer, "null: no normalizer is supported");
}

absl::Status Reader::CheckDecoder() const {
  const json* decoder = fields_.Find("decoder");
  const auto type =
      decoder != nullptr && decoder->is_object() ? decoder->value("type", json()) : json();
  if (type == "ByteLevel") return absl::OkStatus();
  return fields_.Unexpected("decoder", decoder == nullptr ? json() : *decoder,
                            "a decoder of type \"ByteLevel\"");
}

absl::Status Reader::CheckModel(const json& model) const {
  const JsonFields fields(model, source_, "model.");
  ASSIGN_OR_RETURN(const std::optional<std::string> type, fields.String("type"));
  // Files from before the key existed are BPE if they have merges.
  if (type.value_or(fields.Find("merges") != nullptr ? "BPE" : "") != "BPE") {
    return fields.Unexpected("type", type ? json(*type) : json(),
                             "\"BPE\", the only model of tokenizer.json that is supported");
  }
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (const json* value = fields.Find(key); !IsEmpty(value)) {
      return fields.Unexpected(key, *value, "null or \"\"");
    }
  }
  ASSIGN_OR_RETURN(const std::optional<bool> byte_fallback, fields.Bool("byte_fallback"));
  if (byte_fallback.value_or(false)) {
    return fields.Unexpected("byte_fallback", true,
                             "false; copy the checkpoint's tokenizer.model instead");
  }
  ASSIGN_OR_RETURN(const std::optional<double> dropout, fields.Number("dropout", 0.0, 1.0));
  if (dropout.value_or(0.0) != 0.0) return fields.Unexpected("dropout", *dropout, "null or 0");
  return absl::OkStatus();
}

absl::StatusOr<BpeDefinition> Reader::ReadTokens(const json& model) const {
  const json* pre_tokenizer = fields_.Find("pre_tokenizer");
  ASSIGN_OR_RETURN(
      PreTokenizer words,
      PreTokenizer::Create(pre_tokenizer == nullptr ? json() : *pre_tokenizer, source_));
  BpeDefinition definition{.tokens = {},
                           .piece_ids = {},
                           .word_ids = {},
                           .byte_ids = {},
                           .merger = {},
                           .added_tokens = {},
                           .normalized_added_tokens = {},
                           .pre_tokenizer = std::move(words),
                           .prefix = {},
                           .suffix = {}};
  const JsonFields fields(model, source_, "model.");
  ASSIGN_OR_RETURN(const std::optional<bool> ignore_merges, fields.Bool("ignore_merges"));
  definition.ignore_merges = ignore_merges.value_or(false);
  RETURN_IF_ERROR(ReadVocabulary(model, definition));
  RETURN_IF_ERROR(ReadAddedTokens(definition));
  return definition;
}

absl::StatusOr<TokenId> Reader::ClaimId(std::string_view piece, const json& id,
                                        BpeDefinition& out) const {
  if (!id.is_number_unsigned() || id.get<uint64_t>() >= static_cast<uint64_t>(vocab_size_)) {
    return Error(fmt::format("token {} has id {}, expected one below the model's vocab_size of {}",
                             Quoted(piece), ShowJson(id), vocab_size_));
  }
  const auto index = static_cast<size_t>(id.get<uint64_t>());
  if (index >= out.tokens.size()) out.tokens.resize(index + 1);
  const BpeToken& holder = out.tokens[index];
  if (!holder.piece.empty() && holder.piece != piece) {
    return Error(fmt::format("tokens {} and {} have the same id, {}", Quoted(holder.piece),
                             Quoted(piece), index));
  }
  return static_cast<TokenId>(index);
}

absl::Status Reader::ReadVocabulary(const json& model, BpeDefinition& out) const {
  const auto vocab = model.find("vocab");
  if (vocab == model.end() || !vocab->is_object()) return Error("no model.vocab object");
  out.piece_ids.reserve(vocab->size());
  out.word_ids.reserve(vocab->size());
  for (const auto& [piece, value] : vocab->items()) {
    if (piece.empty()) return Error("model.vocab has an empty token");
    ASSIGN_OR_RETURN(const TokenId id, ClaimId(piece, value, out));
    std::optional<std::string> bytes = BytesOfPiece(piece);
    if (bytes) {
      out.word_ids.emplace(*bytes, id);
      out.max_word_bytes = std::max(out.max_word_bytes, bytes->size());
    }
    // What the alphabet cannot spell stands for itself.
    out.tokens[id] = {piece, bytes ? *std::move(bytes) : piece, false};
    out.piece_ids.emplace(piece, id);
  }
  return absl::OkStatus();
}

absl::Status Reader::ReadAddedTokens(BpeDefinition& out) const {
  const json* added = fields_.Find("added_tokens");
  if (added == nullptr) return absl::OkStatus();
  if (!added->is_array()) return fields_.Unexpected("added_tokens", *added, "an array");
  for (const json& entry : *added) {
    if (!entry.is_object()) return fields_.Unexpected("added_tokens", entry, "objects");
    RETURN_IF_ERROR(ReadAddedToken(entry, out));
  }
  return absl::OkStatus();
}

absl::Status Reader::ReadAddedToken(const json& entry, BpeDefinition& out) const {
  const JsonFields fields(entry, source_, "added_tokens.");
  ASSIGN_OR_RETURN(const std::optional<std::string> content, fields.String("content"));
  if (!content || content->empty() || content->size() > kMaxAddedTokenBytes) {
    return fields.Unexpected("content", content ? json(*content) : json(),
                             fmt::format("a string of 1 to {} bytes", kMaxAddedTokenBytes));
  }
  for (const char* key : {"lstrip", "rstrip", "single_word"}) {
    ASSIGN_OR_RETURN(const std::optional<bool> flag, fields.Bool(key));
    if (flag.value_or(false)) {
      return Error(fmt::format("added token {} has {} true, expected false: it is not supported",
                               Quoted(*content), key));
    }
  }
  ASSIGN_OR_RETURN(const std::optional<bool> special, fields.Bool("special"));
  ASSIGN_OR_RETURN(const std::optional<bool> normalized, fields.Bool("normalized"));
  const json* id_value = fields.Find("id");
  ASSIGN_OR_RETURN(const TokenId id,
                   ClaimId(*content, id_value == nullptr ? json() : *id_value, out));
  const auto [it, is_new] = out.piece_ids.emplace(*content, id);
  if (!is_new && it->second != id) {
    return Error(fmt::format("token {} has two ids, {} and {}", Quoted(*content), it->second, id));
  }
  const bool is_special = special.value_or(false);
  out.tokens[id] = {*content, is_special ? "" : *content, is_special};
  // Without a normalizer the two kinds differ only in which are sought first.
  AddedTokens& tokens =
      normalized.value_or(!is_special) ? out.normalized_added_tokens : out.added_tokens;
  tokens.Add(*content, id);
  return absl::OkStatus();
}

absl::Status Reader::ReadMerges(const json& model, BpeDefinition& out) const {
  const auto merges = model.find("merges");
  if (merges == model.end() || !merges->is_array()) return Error("no model.merges array");
  out.merger.Reserve(merges->size());
  int32_t rank = 0;
  for (const json& merge : *merges) RETURN_IF_ERROR(AddMerge(merge, rank++, out));
  return absl::OkStatus();
}

// "left right" or ["left", "right"].
absl::Status Reader::AddMerge(const json& merge, int32_t rank, BpeDefinition& out) const {
  const auto error = [&](std::string_view problem) {
    return Error(fmt::format("model.merges[{}] is {}, {}", rank, ShowJson(merge), problem));
  };
  std::string left;
  std::string right;
  if (merge.is_string()) {
    const auto& both = merge.get_ref<const std::string&>();
    const size_t space = both.find(' ');
    if (space == both.npos || both.find(' ', space + 1) != both.npos) {
      return error("expected two tokens with one space between them");
    }
    left = both.substr(0, space);
    right = both.substr(space + 1);
  } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
             merge[1].is_string()) {
    left = merge[0].get<std::string>();
    right = merge[1].get<std::string>();
  } else {
    return error("expected a pair of tokens");
  }
  const auto left_id = out.piece_ids.find(left);
  const auto right_id = out.piece_ids.find(right);
  const auto merged_id = out.piece_ids.find(left + right);
  const auto end = out.piece_ids.end();
  if (left_id == end || right_id == end || merged_id == end) {
    return error("but one of the two, or what they merge to, is not in model.vocab");
  }
  out.merger.Add(left_id->second, right_id->second, rank, merged_id->second);
  return absl::OkStatus();
}

absl::Status Reader::FindByteTokens(BpeDefinition& out) const {
  out.byte_ids.assign(256, -1);
  for (int byte = 0; byte < 256; ++byte) {
    const std::string piece = WrittenByte(static_cast<uint8_t>(byte));
    const auto it = out.piece_ids.find(piece);
    if (it != out.piece_ids.end()) {
      out.byte_ids[byte] = it->second;
    } else if (byte != 0xc0 && byte != 0xc1 && byte < 0xf5) {
      // These occur in no valid UTF-8; every other byte may, and must not get lost.
      return Error(fmt::format(
          "model.vocab lacks the token of byte 0x{:02X}; byte-level BPE needs all bytes", byte));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<BpeDefinition> ReadBpeDefinition(const json& root, const std::string& source,
                                                int vocab_size) {
  return Reader(root, source, vocab_size).Read();
}

}  // namespace strata
