// From a request on the wire to what the engine takes: every field is
// checked, every default filled in.

#ifndef STRATA_SERVER_REQUEST_TRANSLATION_H_
#define STRATA_SERVER_REQUEST_TRANSLATION_H_

#include <string>

#include "absl/status/statusor.h"
#include "engine/request.h"
#include "server/request_defaults.h"
#include "strata/v1/inference.pb.h"

namespace strata::server {

// All but the deadline, which the call knows. Errors are INVALID_ARGUMENT and
// begin with the field's path: "sampling.top_p: 2 is out of range (0, 1]".
absl::StatusOr<GenerateRequest> TranslateGenerateRequest(const v1::GenerateRequest& proto,
                                                         const RequestDefaults& defaults,
                                                         const RequestLimits& limits);

// Token ids in range, or an error at "path[i]".
absl::StatusOr<std::vector<TokenId>> TranslateTokenIds(
    const google::protobuf::RepeatedField<uint32_t>& ids, const std::string& path, int vocab_size);

// At most limits.max_prompt_bytes of UTF-8, not empty.
absl::Status CheckText(const std::string& text, const std::string& path,
                       const RequestLimits& limits);

absl::Status CheckRequestId(const std::string& request_id);

}  // namespace strata::server

#endif  // STRATA_SERVER_REQUEST_TRANSLATION_H_
