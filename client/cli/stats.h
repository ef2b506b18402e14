// Figures of a finished answer, for people.

#ifndef STRATA_CLIENT_CLI_STATS_H_
#define STRATA_CLIENT_CLI_STATS_H_

#include <string>

#include "strata/v1/inference.pb.h"

namespace strata::client {

// Tokens after the first, per second of decoding; 0 if there is only one.
double TokensPerSecond(const v1::Finished& finished);

// "512 tokens, 161.2 tokens/s, 190 rounds, 63% of 510 drafts accepted (max_tokens)"
std::string StatsLine(const v1::Finished& finished);

// "eos" for FINISH_REASON_EOS.
std::string ReasonName(v1::FinishReason reason);

}  // namespace strata::client

#endif  // STRATA_CLIENT_CLI_STATS_H_
