# The images of `make image`, for those who have Docker: the same tool puts together the same files, and Docker packs them.
#
#   docker build --target controller -t ghcr.io/hopsack-net/hopsack-controller:dev .
#   docker build --target agent -t ghcr.io/hopsack-net/hopsack-agent:dev .
#   docker buildx build --platform linux/amd64,linux/arm64 ...
#
# Programs are cross-compiled on the machine that builds; nothing of another architecture is ever run.
FROM --platform=$BUILDPLATFORM golang:1.26-trixie AS build
ARG TARGETARCH
ARG VERSION=v0.1.0-dev
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN go run ./hack/image -version "$VERSION" -platforms "linux/$TARGETARCH" -only controller,agent -compress=false -trees /out

FROM scratch AS controller
COPY --from=build /out/hopsack-controller/0/ /
COPY --from=build /out/hopsack-controller/1/ /
USER 65532:65532
ENV PATH=/usr/sbin:/usr/bin
WORKDIR /
ENTRYPOINT ["/usr/bin/hopsack-controller"]

FROM scratch AS agent
COPY --from=build /out/hopsack-agent/0/ /
COPY --from=build /out/hopsack-agent/1/ /
COPY --from=build /out/hopsack-agent/2/ /
ENV PATH=/usr/sbin:/usr/bin
WORKDIR /
ENTRYPOINT ["/usr/bin/hopsack-agent"]
