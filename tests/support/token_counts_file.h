// A token-count file that lasts as long as the test that needs it.

#ifndef STRATA_TESTS_SUPPORT_TOKEN_COUNTS_FILE_H_
#define STRATA_TESTS_SUPPORT_TOKEN_COUNTS_FILE_H_

#include <string>
#include <string_view>
#include <vector>

#include "engine/tokenizer/tokenizer.h"

namespace strata {

class TokenCountsFile {
 public:
  explicit TokenCountsFile(std::string_view content);
  // How often each token is among `ids`.
  explicit TokenCountsFile(const std::vector<TokenId>& ids);
  ~TokenCountsFile();
  TokenCountsFile(const TokenCountsFile&) = delete;
  TokenCountsFile& operator=(const TokenCountsFile&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace strata

#endif  // STRATA_TESTS_SUPPORT_TOKEN_COUNTS_FILE_H_
