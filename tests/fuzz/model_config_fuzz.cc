// config.json and generation_config.json.

#include "engine/checkpoint/model_config.h"
#include "tests/fuzz/fuzz_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const strata::FuzzFolder folder;
  folder.Write("config.json", data, size);
  folder.Write("generation_config.json", data, size);
  (void)strata::ReadModelConfig(folder.path());
  (void)strata::ReadGenerationDefaults(folder.path());
  return 0;
}
