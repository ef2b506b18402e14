#include "engine/tokenizer/bpe_tokenizer.h"

#include <utility>

#include "engine/status_macros.h"
#include "engine/tokenizer/detokenizer.h"

namespace strata {
namespace {

using nlohmann::json;

// tokenizer_config.json's "bos_token": a string, or an object with its "content".
std::string BosPiece(const json& config) {
  json token = config.value("bos_token", json());
  if (token.is_object()) token = token.value("content", json());
  return token.is_string() ? token.get<std::string>() : "";
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> BpeTokenizer::Create(const json& definition,
                                                                const json& config,
                                                                const std::string& source,
                                                                int vocab_size) {
  ASSIGN_OR_RETURN(BpeDefinition parts, ReadBpeDefinition(definition, source, vocab_size));
  std::unique_ptr<BpeTokenizer> tokenizer(new BpeTokenizer(std::move(parts), vocab_size));
  const BpeDefinition& checked = tokenizer->definition_;
  if (const auto it = checked.piece_ids.find(BosPiece(config)); it != checked.piece_ids.end()) {
    tokenizer->bos_ = it->second;
  } else if (!checked.prefix.empty()) {
    tokenizer->bos_ = checked.prefix.front();
  }
  return tokenizer;
}

std::vector<TokenId> BpeTokenizer::Encode(std::string_view text, bool add_special_tokens) const {
  // The caller promises valid UTF-8, and the regex library relies on it to stay within the text.
  std::string repaired;
  if (!IsValidUtf8(text)) text = repaired = ReplaceInvalidUtf8(text);

  std::vector<TokenId> ids;
  if (add_special_tokens) ids = definition_.prefix;
  RegexScratch scratch;
  for (const TextSegment& segment : definition_.added_tokens.Split(text)) {
    if (segment.token) {
      ids.push_back(*segment.token);
      continue;
    }
    for (const TextSegment& part : definition_.normalized_added_tokens.Split(segment.text)) {
      if (part.token) {
        ids.push_back(*part.token);
      } else {
        EncodePlain(part.text, scratch, ids);
      }
    }
  }
  if (add_special_tokens) {
    ids.insert(ids.end(), definition_.suffix.begin(), definition_.suffix.end());
  }
  return ids;
}

void BpeTokenizer::EncodePlain(std::string_view text, RegexScratch& scratch,
                               std::vector<TokenId>& ids) const {
  for (const std::string_view word : definition_.pre_tokenizer.Split(text, scratch)) {
    EncodeWord(word, ids);
  }
}

void BpeTokenizer::EncodeWord(std::string_view word, std::vector<TokenId>& ids) const {
  if (definition_.ignore_merges && word.size() <= definition_.max_word_bytes) {
    const auto it = definition_.word_ids.find(std::string(word));
    if (it != definition_.word_ids.end()) {
      ids.push_back(it->second);
      return;
    }
  }
  std::vector<TokenId> symbols;
  symbols.reserve(word.size());
  for (const char byte : word) {
    symbols.push_back(definition_.byte_ids[static_cast<uint8_t>(byte)]);
  }
  definition_.merger.Apply(symbols);
  ids.insert(ids.end(), symbols.begin(), symbols.end());
}

const BpeToken* BpeTokenizer::Find(TokenId id) const {
  if (id < 0 || static_cast<size_t>(id) >= definition_.tokens.size()) return nullptr;
  return &definition_.tokens[id];
}

std::string_view BpeTokenizer::TokenBytes(TokenId id) const {
  const BpeToken* token = Find(id);
  return token == nullptr ? std::string_view() : token->bytes;
}

std::string_view BpeTokenizer::Piece(TokenId id) const {
  const BpeToken* token = Find(id);
  return token == nullptr ? std::string_view() : token->piece;
}

bool BpeTokenizer::IsSpecial(TokenId id) const {
  const BpeToken* token = Find(id);
  return token != nullptr && token->is_special;
}

}  // namespace strata
