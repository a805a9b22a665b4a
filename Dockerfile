# One image with the four services and `dp`. `make image` builds it; CMD names the program to run:
#   docker run data-processing:0.1.0 normalization
#
# RUST needs a C and a C++ compiler, make, pkg-config and OpenSSL's headers next to the toolchain of rust-toolchain.toml.
# BASE needs glibc, OpenSSL 3 and the certificate authorities; a shell is not needed.
ARG RUST=rust:1.95.0-bookworm
ARG BASE=gcr.io/distroless/cc-debian12:nonroot

FROM ${RUST} AS build
# The oldest processor that has to run the image, and optimization across crates: see the script.
ARG CPU=x86-64-v2
ARG LTO=thin
WORKDIR /src
# zlib is linked statically, because minimal base images do not contain it.
ENV LIBZ_SYS_STATIC=1
COPY . .
# The caches hold downloaded crates and compiled dependencies, so a change of the sources compiles only our crates.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target,sharing=locked \
    CPU="$CPU" LTO="$LTO" scripts/image_programs.sh dp normalization enrichment aggregation projection \
    && mkdir -p /out/symbols /out/bin \
    && for program in dp normalization enrichment aggregation projection; do \
         cp "target/image/$program" /out/symbols/ \
         && strip --strip-debug -o "/out/bin/$program" "target/image/$program" || exit 1; \
       done

FROM ${BASE} AS base
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="data-processing" \
      org.opencontainers.image.description="Normalization, enrichment, aggregation and projection of market ticks, and the operator's tool dp" \
      org.opencontainers.image.vendor="254Carbon" \
      org.opencontainers.image.licenses="LicenseRef-254Carbon-Proprietary" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# In a container: every interface, the same ports for all services, the metrics port open.
ENV PATH=/usr/local/bin \
    DATA_PROC_HTTP_HOST=0.0.0.0 \
    DATA_PROC_HEALTH_PORT=8080 \
    DATA_PROC_METRICS_PORT=9090
EXPOSE 8080 9090
USER 65532:65532
WORKDIR /
# The services drain for up to 30 s on SIGTERM.
STOPSIGNAL SIGTERM
CMD ["dp", "--help"]

# `--target debug`: with line tables, for profiles and debuggers.
FROM base AS debug
COPY --from=build /out/symbols/ /usr/local/bin/

FROM base
COPY --from=build /out/bin/ /usr/local/bin/
