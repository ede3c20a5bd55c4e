#include "trace/trace-migration_smemv.h"
