// One prompt answered twice: autoregressively and self-speculatively.

#ifndef STRATA_CLIENT_CLI_COMPARISON_H_
#define STRATA_CLIENT_CLI_COMPARISON_H_

#include <string>

#include "strata/v1/inference.pb.h"

namespace strata::client {

struct ComparedRun {
  std::string text;
  v1::Finished finished;
};

struct Comparison {
  ComparedRun autoregressive;
  ComparedRun speculative;

  double speed_up() const;
  bool same_text() const { return autoregressive.text == speculative.text; }
  // A small table, then whether the outputs are identical.
  std::string ToTable() const;
  // One line.
  std::string ToJson() const;
};

}  // namespace strata::client

#endif  // STRATA_CLIENT_CLI_COMPARISON_H_
