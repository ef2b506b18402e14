// tokenizer.json: a tokenizer that can be opened can be used.

#include <cstdlib>
#include <string>
#include <vector>

#include "engine/tokenizer/detokenizer.h"
#include "engine/tokenizer/tokenizer.h"
#include "tests/fuzz/fuzz_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr int kVocabSize = 512;
  static const strata::FuzzFolder folder;
  folder.Write("tokenizer.json", data, size);
  const auto tokenizer = strata::Tokenizer::Open(folder.path(), kVocabSize);
  if (!tokenizer.ok()) return 0;
  const std::vector<strata::TokenId> ids =
      (*tokenizer)->Encode("def f(x):\n  return 'h\xc3\xa9llo' + 12345", true);
  for (const strata::TokenId id : ids) {
    if (id < 0 || id >= kVocabSize) std::abort();
  }
  if (!strata::IsValidUtf8((*tokenizer)->Decode(ids))) std::abort();
  return 0;
}
