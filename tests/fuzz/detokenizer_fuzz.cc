// Any sequence of tokens: the pieces of text are valid UTF-8, and together what decoding all gives.

#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "engine/tokenizer/detokenizer.h"
#include "tests/fakes/fake_tokenizer.h"

namespace {

void Expect(bool condition) {
  if (!condition) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // A byte of input is a token of a byte, but for a few that are longer, with parts of characters.
  static const strata::FakeTokenizer tokenizer({"\xe2\x82", "\xac\xf0", "ab\xc3", ""});
  std::vector<strata::TokenId> ids;
  for (size_t i = 0; i < size; ++i) {
    ids.push_back(data[i] < 0xfa ? data[i] : strata::FakeTokenizer::kBos + data[i] - 0xfa);
  }
  std::string text;
  strata::Detokenizer detokenizer(&tokenizer, /*at_text_start=*/true);
  for (const strata::TokenId id : ids) {
    detokenizer.Append(id % tokenizer.vocab_size(), &text);
    Expect(strata::IsValidUtf8(text));
  }
  detokenizer.Flush(&text);
  Expect(strata::IsValidUtf8(text));
  for (strata::TokenId& id : ids) id %= tokenizer.vocab_size();
  Expect(text == tokenizer.Decode(ids));
  return 0;
}
