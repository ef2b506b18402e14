// What the absent fields of a request mean on this server, and the limits that
// the model sets to those present.

#ifndef STRATA_SERVER_REQUEST_DEFAULTS_H_
#define STRATA_SERVER_REQUEST_DEFAULTS_H_

#include <cstddef>

#include "engine/checkpoint/model_config.h"
#include "engine/engine.h"
#include "engine/request.h"
#include "server/options.h"

namespace strata::server {

struct RequestDefaults {
  SamplingParams sampling;
  int max_new_tokens = 512;
  Speculation::Mode speculation = Speculation::Mode::kAuto;
  // What kFixed's absent fields mean.
  int exit_layer = 1;
  int num_draft_tokens = 4;
};

struct RequestLimits {
  int vocab_size = 0;
  int num_layers = 0;
  int max_context = 0;
  size_t max_prompt_bytes = 0;  // a longer text cannot fit the context
};

// From generation_config.json, else the options. `fixed`: the engine's choice
// of exit layer and draft length, which knows the flags.
RequestDefaults MakeRequestDefaults(const GenerationDefaults& generation, const Options& options,
                                    const Speculation& fixed);

RequestLimits MakeRequestLimits(const Engine& engine);

}  // namespace strata::server

#endif  // STRATA_SERVER_REQUEST_DEFAULTS_H_
