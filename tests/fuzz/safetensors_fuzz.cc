// The header of a safetensors file: whatever it says, it is read or refused.

#include "engine/checkpoint/safetensors.h"
#include "tests/fuzz/fuzz_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const strata::FuzzFolder folder;
  const auto file = strata::SafetensorsFile::Open(folder.Write("model.safetensors", data, size));
  if (!file.ok()) return 0;
  // The data of what it found must be there to read.
  const strata::SafetensorsEntry* entry = (*file)->Find("a");
  if (entry == nullptr) return 0;
  uint8_t sum = 0;
  for (uint64_t i = 0; i < entry->size_bytes; ++i) sum ^= static_cast<uint8_t>(entry->data[i]);
  volatile uint8_t sink = sum;
  (void)sink;
  return 0;
}
