// Has systemd's or PAM's own library read env files: libs systemd LIBRARY | libs pam; their paths on standard input.
// For each it prints NAME, a tab, and the assignments it read in hexadecimal digits, or "!" where the file was given up.
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct pam_handle pam_handle_t;
struct pam_conv { int (*conv)(int, const void **, void **, void *); void *data; };
static int silent(int n, const void **m, void **r, void *d) { (void)n, (void)m, (void)r, (void)d; return 19; }

static void print(char **entries) {
    for (; entries && *entries; entries++) {
        for (const unsigned char *c = (const unsigned char *)*entries; *c; c++) printf("%02x", *c);
        putchar(' ');
    }
}

static void *symbol(void *library, const char *name) {
    void *found = dlsym(library, name);
    if (!found) { fprintf(stderr, "%s: %s\n", name, dlerror()); exit(1); }
    return found;
}

int main(int argc, char **argv) {
    int pam = argc > 1 && !strcmp(argv[1], "pam");
    if (!pam && argc != 3) return 64;
    void *library = dlopen(pam ? "libpam.so.0" : argv[2], RTLD_NOW);
    if (!library) { fprintf(stderr, "%s\n", dlerror()); return 1; }
    char path[4096];
    while (fgets(path, sizeof path, stdin)) {
        path[strcspn(path, "\n")] = 0;
        const char *name = strrchr(path, '/');
        printf("%s\t", name ? name + 1 : path);
        if (pam) {
            int (*start)(const char *, const char *, const struct pam_conv *, const char *, pam_handle_t **) = symbol(library, "pam_start_confdir");
            int (*open)(pam_handle_t *, int) = symbol(library, "pam_open_session");
            char **(*list)(pam_handle_t *) = symbol(library, "pam_getenvlist");
            int (*end)(pam_handle_t *, int) = symbol(library, "pam_end");
            char directory[] = "/tmp/pamXXXXXX", file[64];
            if (!mkdtemp(directory)) return 1;
            snprintf(file, sizeof file, "%s/reader", directory);
            FILE *rules = fopen(file, "w");
            fprintf(rules, "session required pam_env.so readenv=1 user_readenv=0 conffile=/dev/null envfile=%s\n", path);
            fclose(rules);
            struct pam_conv conv = {silent, NULL};
            pam_handle_t *handle = NULL;
            if (start("reader", "root", &conv, directory, &handle) || open(handle, 0)) printf("!");
            else print(list(handle));
            if (handle) end(handle, 0);
            unlink(file);
            rmdir(directory);
        } else {
            int (*load)(FILE *, const char *, char ***) = symbol(library, "load_env_file");
            char **(*clean)(char **, void (*)(const char *, void *), void *) = symbol(library, "strv_env_clean_with_callback");
            char **entries = NULL;
            if (load(NULL, path, &entries) < 0) printf("!");
            else print(entries ? clean(entries, NULL, NULL) : NULL);
        }
        putchar('\n');
    }
    return 0;
}
