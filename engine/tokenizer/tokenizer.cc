#include "engine/tokenizer/tokenizer.h"

#include "engine/checkpoint/json_fields.h"
#include "engine/checkpoint/json_file.h"
#include "engine/status_macros.h"
#include "engine/tokenizer/bpe_tokenizer.h"
#include "engine/tokenizer/detokenizer.h"
#include "engine/tokenizer/sentencepiece_tokenizer.h"
#include "fmt/format.h"

namespace strata {

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::Open(const std::string& folder,
                                                           int vocab_size) {
  nlohmann::json config = nlohmann::json::object();
  const std::string config_path = folder + "/tokenizer_config.json";
  if (FileExists(config_path)) {
    ASSIGN_OR_RETURN(config, ReadJsonFile(config_path));
  }
  if (const std::string path = folder + "/tokenizer.model"; FileExists(path)) {
    const JsonFields fields(config, config_path);
    SentencePieceTokenizer::Options options;
    ASSIGN_OR_RETURN(const std::optional<bool> add_bos, fields.Bool("add_bos_token"));
    ASSIGN_OR_RETURN(const std::optional<bool> add_eos, fields.Bool("add_eos_token"));
    options.add_bos = add_bos.value_or(options.add_bos);
    options.add_eos = add_eos.value_or(options.add_eos);
    return SentencePieceTokenizer::Open(path, vocab_size, options);
  }
  if (const std::string path = folder + "/tokenizer.json"; FileExists(path)) {
    ASSIGN_OR_RETURN(const nlohmann::json definition, ReadJsonFile(path));
    return BpeTokenizer::Create(definition, config, path, vocab_size);
  }
  return absl::NotFoundError(fmt::format(
      "{}: neither tokenizer.model nor tokenizer.json is there; copy the checkpoint's tokenizer",
      folder));
}

std::string Tokenizer::Decode(std::span<const TokenId> ids) const {
  Detokenizer detokenizer(this, /*at_text_start=*/true);
  std::string text;
  for (const TokenId id : ids) detokenizer.Append(id, &text);
  detokenizer.Flush(&text);
  return text;
}

}  // namespace strata
