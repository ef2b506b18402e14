#include "tests/engine/checkpoint/tokenizer_writer.h"

#include "engine/tokenizer/byte_alphabet.h"
#include "tests/engine/checkpoint/temporary_folder.h"

namespace strata {
namespace {

using nlohmann::json;

json SpecialToken(const char* content, int id) {
  return {{"id", id},        {"content", content}, {"special", true},     {"normalized", false},
          {"lstrip", false}, {"rstrip", false},    {"single_word", false}};
}

}  // namespace

json ByteTokenizerJson() {
  json vocab;
  for (int byte = 0; byte < 256; ++byte) vocab[WrittenByte(static_cast<uint8_t>(byte))] = byte;
  const json byte_level = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}};
  json root;
  root["version"] = "1.0";
  root["added_tokens"] = json::array({SpecialToken("<bos>", 256), SpecialToken("<eos>", 257)});
  root["normalizer"] = nullptr;
  root["pre_tokenizer"] = byte_level;
  root["decoder"] = byte_level;
  root["post_processor"] = {
      {"type", "TemplateProcessing"},
      {"single", json::array({json{{"SpecialToken", {{"id", "<bos>"}, {"type_id", 0}}}},
                              json{{"Sequence", {{"id", "A"}, {"type_id", 0}}}}})},
      {"special_tokens", {{"<bos>", {{"id", "<bos>"}, {"ids", {256}}}}}}};
  root["model"] = {{"type", "BPE"}, {"vocab", vocab}, {"merges", json::array()}};
  return root;
}

void WriteByteTokenizer(const std::string& folder) {
  WriteFile(folder + "/tokenizer.json", ByteTokenizerJson().dump());
}

}  // namespace strata
