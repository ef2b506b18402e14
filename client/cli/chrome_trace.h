// A server's rounds in the Trace Event Format that chrome://tracing and Perfetto open
// (https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU).

#ifndef STRATA_CLIENT_CLI_CHROME_TRACE_H_
#define STRATA_CLIENT_CLI_CHROME_TRACE_H_

#include <string>

#include "strata/v1/control.pb.h"

namespace strata::client {

// One JSON object: a track of rounds with their parts nested in them, a track for each sample of a
// request with the rounds that it took part in, and counters of rows and tokens. `title`: what is
// shown for the server.
std::string ToChromeTrace(const v1::Trace& trace, const std::string& title);

}  // namespace strata::client

#endif  // STRATA_CLIENT_CLI_CHROME_TRACE_H_
