// What strata-loadtest is asked to do.

#ifndef STRATA_LOADTEST_GENERATOR_OPTIONS_H_
#define STRATA_LOADTEST_GENERATOR_OPTIONS_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/client.h"
#include "loadtest/generator/load_run.h"
#include "loadtest/generator/mix.h"
#include "loadtest/generator/summary.h"

namespace strata::loadtest {

struct Options {
  client::ConnectOptions server;
  LoadSettings load;
  // A run each. Of these and `trace`, exactly one is set.
  std::vector<double> rates;       // calls per second
  std::vector<int> concurrencies;  // calls at a time
  std::string trace;               // a file: arrivals.h
  int num_connections = 1;
  uint64_t seed = 1;
  std::vector<MixEntry> mix;
  ServiceLevel level;
  std::string json_path, csv_path, html_path;  // empty: none
  bool quiet = false;                          // no progress
};

struct CommandLine {
  Options options;
  std::string compare_first, compare_second;  // files; not empty: compare them instead
  std::string help;                           // not empty: print it instead
};

// `args` without the program's name. Reads the file of --mix. Errors: INVALID_ARGUMENT or
// NOT_FOUND, with a message for people.
absl::StatusOr<CommandLine> ParseCommandLine(const std::vector<std::string>& args);

// NOT_FOUND if the file cannot be read.
absl::StatusOr<std::string> ReadFile(const std::string& path);

}  // namespace strata::loadtest

#endif  // STRATA_LOADTEST_GENERATOR_OPTIONS_H_
