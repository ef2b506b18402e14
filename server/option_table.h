// Every option of the server by name: help text and how its value is set.

#ifndef STRATA_SERVER_OPTION_TABLE_H_
#define STRATA_SERVER_OPTION_TABLE_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "server/options.h"

namespace strata::server {

struct OptionSpec {
  std::string name;  // "max-queue": the flag --max-queue, STRATA_MAX_QUEUE, max-queue = in TOML
  // Of what kind, for the help: "N", "HOST:PORT"; "[N]" if it may be left out; empty: a switch,
  // "true" if bare.
  std::string value;
  std::string help;
  std::function<absl::Status(const std::string& text, Options* options)> set;
};

// In the order of the help.
const std::vector<OptionSpec>& OptionTable();

}  // namespace strata::server

#endif  // STRATA_SERVER_OPTION_TABLE_H_
