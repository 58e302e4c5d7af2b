// NVRTC without NVRTC: compiles kernel sources with the machine's C++ compiler into libraries for the stand-in driver.
//
// STAND_IN_CXX (the compiler), STAND_IN_FLAGS, STAND_IN_INCLUDE (the folder of shim.h) and STAND_IN_ID (a number that
// changes with the stand-in's sources, so that caches of compiled kernels know) are defined when this file is compiled.
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>

#include "abi.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace {

enum Result { SUCCESS = 0, OUT_OF_MEMORY = 1, COMPILATION = 6 };

struct Program {
    std::string source, name, log, image;
};

std::string read(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
}

std::string quoted(const std::string& word) {
    std::string result = "'";
    for (char c : word) result += c == '\'' ? std::string("'\\''") : std::string(1, c);
    return result + "'";
}

}  // namespace

EXPORT int nvrtcVersion(int* major, int* minor) {
    *major = 0;
    *minor = STAND_IN_ID;
    return SUCCESS;
}
EXPORT int nvrtcGetNumSupportedArchs(int* count) {
    *count = 1;
    return SUCCESS;
}
EXPORT int nvrtcGetSupportedArchs(int* archs) {
    archs[0] = 80;
    return SUCCESS;
}
EXPORT const char* nvrtcGetErrorString(int result) {
    return result == SUCCESS ? "NVRTC_SUCCESS" : "NVRTC_ERROR_COMPILATION";
}
EXPORT int nvrtcCreateProgram(Program** program, const char* source, const char* name, int, const char* const*,
                              const char* const*) {
    *program = new Program{source, name ? name : "kernel.cu", "", ""};
    return SUCCESS;
}
EXPORT int nvrtcDestroyProgram(Program** program) {
    delete *program;
    return SUCCESS;
}
EXPORT int nvrtcCompileProgram(Program* program, int count, const char* const* options) {
    char folder[] = "/tmp/stand-in-XXXXXX";
    if (!mkdtemp(folder)) return COMPILATION;
    std::string base = folder;
    std::ofstream(base + "/kernel.cpp") << program->source;
    std::string command = STAND_IN_CXX " -std=c++17 -fPIC -shared -fvisibility=hidden -ffp-contract=off "
                          "-fno-strict-aliasing -Wall -Wno-unknown-pragmas -Wno-unused-function "
                          "-Wno-unused-but-set-variable -Wno-unused-variable -Wno-tautological-compare " STAND_IN_FLAGS
                          " -I" STAND_IN_INCLUDE " -include shim.h";
    for (int i = 0; i < count; i++)
        if (!strncmp(options[i], "-D", 2)) command += " " + quoted(options[i]);
    command += " " + base + "/kernel.cpp -o " + base + "/kernel.so >" + base + "/log 2>&1";
    int status = system(command.c_str());
    program->log = read(base + "/log");
    std::string library = read(base + "/kernel.so");
    for (const char* file : {"/kernel.cpp", "/kernel.so", "/log"}) unlink((base + file).c_str());
    rmdir(folder);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) return COMPILATION;
    stand_in::Image header;
    memcpy(header.magic, stand_in::MAGIC, sizeof header.magic);
    header.length = library.size();
    program->image = std::string(reinterpret_cast<char*>(&header), sizeof header) + library;
    return SUCCESS;
}
EXPORT int nvrtcGetProgramLogSize(Program* program, size_t* size) {
    *size = program->log.size() + 1;
    return SUCCESS;
}
EXPORT int nvrtcGetProgramLog(Program* program, char* log) {
    memcpy(log, program->log.c_str(), program->log.size() + 1);
    return SUCCESS;
}
EXPORT int nvrtcGetCUBINSize(Program* program, size_t* size) {
    *size = program->image.size();
    return SUCCESS;
}
EXPORT int nvrtcGetCUBIN(Program* program, char* image) {
    memcpy(image, program->image.data(), program->image.size());
    return SUCCESS;
}
