// A GenerateRequest as it comes over the wire: translated within the limits, or refused.

#include <cstdlib>

#include "engine/tokenizer/detokenizer.h"
#include "server/request_translation.h"

namespace {

strata::server::RequestLimits Limits() {
  strata::server::RequestLimits limits;
  limits.vocab_size = 1000;
  limits.num_layers = 8;
  limits.max_context = 256;
  limits.max_prompt_bytes = 4096;
  return limits;
}

void Expect(bool condition) {
  if (!condition) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  strata::v1::GenerateRequest proto;
  if (!proto.ParseFromArray(data, static_cast<int>(size))) return 0;
  const strata::server::RequestLimits limits = Limits();
  const auto request = strata::server::TranslateGenerateRequest(proto, {}, limits);
  if (!request.ok()) {
    Expect(absl::IsInvalidArgument(request.status()));
    Expect(strata::IsValidUtf8(std::string(request.status().message())));
    return 0;
  }
  if (const auto* text = std::get_if<std::string>(&request->prompt)) {
    Expect(text->size() <= limits.max_prompt_bytes && strata::IsValidUtf8(*text));
  } else {
    for (const strata::TokenId id : std::get<std::vector<strata::TokenId>>(request->prompt)) {
      Expect(id >= 0 && id < limits.vocab_size);
    }
  }
  Expect(request->sampling.temperature >= 0);  // and no NaN
  Expect(request->sampling.num_samples >= 1);
  return 0;
}
